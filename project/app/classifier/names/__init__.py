"""What people call labels: names by language, synonyms, and categories."""
