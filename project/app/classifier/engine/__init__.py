"""The process that decodes images and runs image models, and its control from the service."""
