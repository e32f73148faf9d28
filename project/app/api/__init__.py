"""HTTP only: routes, request bodies, responses, errors."""
