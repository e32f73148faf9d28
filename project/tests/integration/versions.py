"""Data of each earlier version of the tables, by the number of its migration."""

import hashlib
from typing import Final

PENDING: Final = 4
IMAGE_PATH: Final = "2026/11/21/0123456789abcdef0123456789abcd04.jpg"
"""Of the prediction that was pending when the service was stopped."""
SCORES: Final = '[{"label": "tabby", "confidence": 0.61}, {"label": "tiger_cat", "confidence": 0.2}]'
SECRET: Final = "a" * 43
KEY: Final = f"ic_0123456789ab_{SECRET}"
"""An API key of that time; its hash is in the table."""

WRITTEN: Final[dict[int, str]] = {
    0: f"""
INSERT INTO predictions (filename, image_path, content_type, size_bytes, width, height, sha256, status, top_prediction,
    confidence, all_predictions, model, model_version, error_code, error_message, attempts, lease_expires_at,
    created_at, started_at, completed_at, corrected_at)
VALUES
('cat.jpg', '2026/11/21/0123456789abcdef0123456789abcd01.jpg', 'image/jpeg', 69125, 400, 300, repeat('1', 64),
 'succeeded', 'tabby', 0.61, '{SCORES}', 'efficientnet_lite0', '3f1c', NULL, NULL, 1, NULL,
 '2026-11-21 10:00:00+00', '2026-11-21 10:00:01+00', '2026-11-21 10:00:02+00', NULL),
('Käse 🐈.png', '2026/11/21/0123456789abcdef0123456789abcd02.png', 'image/png', 812, 20, 10, repeat('2', 64),
 'succeeded', 'cheese', 1, '{SCORES}', 'efficientnet_lite0', '3f1c', NULL, NULL, 2, NULL,
 '2026-11-21 10:01:00+00', '2026-11-21 10:01:01+00', '2026-11-21 10:01:02+00', '2026-11-21 11:00:00+00'),
('broken.gif', '2026/11/21/0123456789abcdef0123456789abcd03.gif', 'image/gif', 99, 5, 5, repeat('3', 64),
 'failed', NULL, NULL, NULL, 'efficientnet_lite0', '3f1c', 'image_unreadable',
 'The image could not be decoded: the file is damaged or incomplete.', 1, NULL,
 '2026-11-21 10:02:00+00', '2026-11-21 10:02:01+00', '2026-11-21 10:02:02+00', NULL),
('late.jpg', '{IMAGE_PATH}', 'image/jpeg', 9000, 400, 300, repeat('4', 64),
 'pending', NULL, NULL, NULL, 'efficientnet_lite0', '3f1c', NULL, NULL, 0, NULL,
 '2026-11-21 10:03:00+00', NULL, NULL, NULL);
""",
    1: f"""
INSERT INTO past_answers (prediction_id, status, top_prediction, confidence, all_predictions, model, model_version,
    error_code, error_message, attempts, started_at, completed_at, corrected_at, replaced_at)
VALUES (1, 'succeeded', 'lynx', 0.4, '{SCORES}', 'resnet50', '77aa', NULL, NULL, 1,
    '2026-11-21 09:00:01+00', '2026-11-21 09:00:02+00', NULL, '2026-11-21 09:59:59+00');
INSERT INTO tabular_predictions (model, model_version, features, label, probabilities, cached, created_at)
VALUES ('iris_random_forest', '12ab', '{{"sepal_length": 5.1}}', 'setosa', '{{"setosa": 1.0}}', false,
    '2026-11-21 12:00:00+00');
""",
    2: """
INSERT INTO workers (id, name, models, started_at, seen_at)
VALUES ('6b0b5c46-0b7c-4d3e-9a51-2f1d1f1f1f1f', 'host:1', '[]', '2026-11-25 10:00:00+00', '2026-11-25 11:00:00+00');
""",
    3: """
UPDATE predictions SET cached = true WHERE id = 2;
INSERT INTO idempotency_keys (key, fingerprint, prediction_id, answer, claimed_at)
VALUES ('order-1', repeat('f', 64), 1, '{"id": 1}', '2026-11-25 10:00:00+00');
""",
    4: """
INSERT INTO deliveries (prediction_id, url, status, attempts, next_attempt_at, response_status, error, created_at,
    delivered_at)
VALUES (1, 'https://example.com/hook', 'delivered', 2, NULL, 200, NULL, '2026-11-25 10:00:00+00',
    '2026-11-25 10:00:09+00');
""",
    5: "",
    6: "UPDATE installation SET swept_at = '2026-11-25 19:00:00+00';",
    7: f"""
INSERT INTO api_keys (name, public_id, hash, scopes, created_at, expires_at, revoked_at, used_at)
VALUES ('anna', '0123456789ab', '{hashlib.sha256(SECRET.encode()).hexdigest()}',
        'read,write', '2026-11-25 22:00:00+00', NULL, NULL, NULL),
       ('gone', 'fedcba987654', repeat('0', 64), 'admin', '2026-11-25 22:00:00+00', NULL,
        '2026-11-25 22:30:00+00', NULL);
""",
    8: """
UPDATE predictions SET key_id = 1 WHERE id = 3;
INSERT INTO changes (changed_at, key_id, who, action, subject_id, before, after)
VALUES ('2026-11-25 22:25:00+00', 1, 'anna', 'prediction.corrected', 2, '{"top_prediction": "tabby"}',
    '{"top_prediction": "cheese"}');
INSERT INTO rate_limits (subject, free_at) VALUES ('requests 127.0.0.1', '2026-11-25 22:26:00+00');
""",
    9: "UPDATE changes SET address = '192.0.2.7';",
    10: "",
    11: "UPDATE idempotency_keys SET owner = 8004;",
    12: "UPDATE predictions SET interruptions = 1 WHERE id = 4;",
    13: """
INSERT INTO custom_models (name, base, labels, retrain_after, training_id, created_at, key_id, who)
VALUES ('cats', 'efficientnet_lite0', '["tabby", "lynx"]', 10, 1, '2026-11-27 14:00:00+00', 1, 'anna');
INSERT INTO examples (model_id, prediction_id, sha256, label, use, added_at, key_id, who)
VALUES (1, 1, repeat('1', 64), 'tabby', 'learn', '2026-11-27 14:00:00+00', 1, 'anna');
INSERT INTO trainings (model_id, status, number, requested_at, started_at, completed_at, attempts, who, labels,
    examples, metrics, answers, head, head_sha256, decision)
VALUES (1, 'succeeded', 1, '2026-11-27 14:01:00+00', '2026-11-27 14:01:01+00', '2026-11-27 14:01:02+00', 1, 'anna',
    '["tabby", "lynx"]', 6, '{"examples": 6, "folds": 3, "near_duplicates": 0, "accuracy": 1.0,
      "accuracy_interval": [0.61, 1.0], "labels": [], "confusion": [[3, 0], [0, 3]],
      "other": {"threshold": 0.4, "false_alarms": 0.0}, "check": null, "unreadable": []}',
    '[]', 'abc', repeat('a', 64), 'First version.');
INSERT INTO embeddings (prediction_id, model, model_version, vector) VALUES (1, 'efficientnet_lite0', '3f1c', 'abcd');
""",
    14: """
UPDATE predictions SET reviewed_at = corrected_at, reviewed_by = 'anna', verdict = 'corrected', review_sampled = false
WHERE id = 2;
""",
    15: "UPDATE embeddings SET code = B'1010';",
    16: """
INSERT INTO deliveries (training_id, url, status, attempts, created_at, delivered_at)
VALUES (1, 'https://example.com/trained', 'delivered', 1, '2026-11-27 18:00:00+00', '2026-11-27 18:00:01+00');
""",
    17: "UPDATE examples SET label_before = 'lynx';",
    18: "",
    19: """UPDATE predictions SET categories = '[{"name": "cat", "confidence": 0.9}]' WHERE id = 1;""",
    20: "UPDATE installation SET default_model = 'efficientnet_lite0';",
    21: "UPDATE predictions SET decision = 'sure' WHERE id = 1;",
    22: """
INSERT INTO calibrations (model, model_version, reviews, correct, labels, temperature, computed_at)
VALUES ('efficientnet_lite0', '3f1c', 120, 100, 1000, 1.5, '2026-11-28 03:00:00+00');
INSERT INTO decision_thresholds (model, sure_from, labels, precision, chosen_at, who)
VALUES ('efficientnet_lite0', 0.7, '{"tabby": 0.9}', 0.95, '2026-11-28 03:00:00+00', 'anna');
""",
    23: """
UPDATE trainings SET progress = 1 WHERE id = 1;
INSERT INTO shadows (model, share, first_id, started_at, ended_at, who)
VALUES ('efficientnet_lite0', 0.1, 1, '2026-11-28 04:00:00+00', '2026-11-28 05:00:00+00', 'anna');
INSERT INTO shadow_answers (shadow_id, prediction_id, claimed_at, completed_at, model_version, all_predictions,
    default_model, default_version, default_label)
VALUES (1, 1, '2026-11-28 04:00:00+00', '2026-11-28 04:00:01+00', '3f1c', '[{"label": "tabby", "confidence": 0.6}]',
    'mobilenet_v2', '8023', 'tabby');
""",
    24: """
UPDATE custom_models SET label_names = '{"labels": [{"label": "tabby", "names": {"de": "Getigerte Katze"}}]}';
""",
}
