"""Inserts rows directly into the database."""

ROW = """
INSERT INTO predictions (filename, image_path, content_type, size_bytes, width, height, sha256, status, model,
                         model_version, attempts, created_at)
SELECT 'a.jpg', gen_random_uuid()::text, 'image/jpeg', 1, 1, 1, '0', $1, 'm', '1', 0, now() FROM generate_series(1, $2)
"""
