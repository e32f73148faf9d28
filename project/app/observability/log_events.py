"""Log events: each has a stable name and a sentence for people.

With ``LOG_FORMAT=json`` a line carries the name as ``event``, the sentence as ``message``, and the arguments as fields.
"""

from typing import Final, Self


class Event(str):
    """The sentence, a format string for ``logging``; ``fields`` names its arguments."""

    __slots__ = ("fields", "name")

    name: str
    fields: tuple[str, ...]

    def __new__(cls, name: str, sentence: str, *fields: str) -> Self:
        """Create a constant of this module."""
        event = super().__new__(cls, sentence)
        event.name, event.fields = name, fields
        return event


ANSWERS_NOT_KEPT: Final = Event(
    "answers_not_kept", "%d results of %s were not stored: the database is unavailable", "count", "model"
)
ATTEMPT_ERROR: Final = Event("attempt_error", "The first attempt to classify an image failed")
BACKLOG_ERROR: Final = Event("backlog_error", "Measuring the backlog failed")
BACKLOG_UNKNOWN: Final = Event("backlog_unknown", "The backlog is unknown: the database is unavailable")
BATCH_IMAGE_ERROR: Final = Event("batch_image_error", "Image %d of a batch failed", "number")
CLIENT_STALLED: Final = Event("client_stalled", "Closing a connection: the client %s for too long", "reason")
DATABASE_AWAITED: Final = Event("database_awaited", "Waiting for the database at %s: %s", "address", "reason")
DATABASE_CROWDED: Final = Event("database_crowded", "%s", "reason")
DOWNLOAD_STARTED: Final = Event("download_started", "Downloading %s", "url")
ENGINE_DIED: Final = Event(
    "engine_died", "%s died (%s) with %d active requests; restarting it", "engine", "exit_status", "in_hand"
)
ENGINE_ENDED_FOR_MEMORY: Final = Event(
    "engine_ended_for_memory",
    "%s was killed because the container's memory was used up: raise its limit, or lower WORKER_THREADS, "
    "MAX_DECODING_BYTES or MODELS_MEMORY_BYTES",
    "engine",
)
ENGINE_ERROR: Final = Event("engine_error", "The engine failed to %s", "asked")
ENGINE_HUNG: Final = Event("engine_hung", "%s has not responded for %g s; killing it", "engine", "seconds")
ENGINE_IS_ROOT: Final = Event(
    "engine_is_root",
    "Images are decoded as root: install the command setpriv (package util-linux), or run as another user",
)
ENGINE_NOT_STARTED: Final = Event("engine_not_started", "%s could not be started; trying again", "engine")
ENGINE_SAID: Final = Event("engine_said", "Engine output: %s", "said")
EXPORT_ACTIVATION: Final = Event(
    "export_activation", "Activation that turns the output into scores: %s (--activation overrides it)", "activation"
)
EXPORT_CALIBRATING: Final = Event("export_calibrating", "Calibrating with %d images", "count")
EXPORT_COMPARED: Final = Event(
    "export_compared", "Scores match the original model within %.1g on %d images", "difference", "images"
)
EXPORT_CONVERTING: Final = Event("export_converting", "Converting %s to LiteRT", "model")
EXPORT_FALLBACK: Final = Event("export_fallback", "%s", "reason")
EXPORT_FEW_IMAGES: Final = Event(
    "export_few_images", "Calibrating with only %d images; %d or more are recommended", "count", "enough"
)
EXPORT_NO_IMAGE: Final = Event("export_no_image", "Skipping %s: not an image", "path")
EXPORT_QUANTISING: Final = Event("export_quantising", "Quantizing to int8")
EXPORT_SIZE: Final = Event(
    "export_size", "The model takes images of any size: exporting it for %d x %d pixels (--size)", "width", "height"
)
FOLDER_IS_OPEN: Final = Event("folder_is_open", "The permissions of %s cannot be restricted: %s", "folder", "reason")
IMAGES_NOT_REMOVED: Final = Event("images_not_removed", "Images could not be deleted (%s): %s", "reason", "keys")
IMAGE_MISSING: Final = Event("image_missing", "Image %s is missing", "key")
IMAGE_NOT_FETCHED: Final = Event("image_not_fetched", "Image download failed: %s", "reason")
IMAGE_NOT_REMOVED: Final = Event("image_not_removed", "Image %s could not be deleted", "key")
IMAGE_OVERDUE: Final = Event("image_overdue", "An image exceeded the time limit of %g s (MAX_IMAGE_SECONDS)", "seconds")
JOBS_ERROR: Final = Event("jobs_error", "Consuming jobs failed; resuming shortly")
JOBS_INTERRUPTED: Final = Event(
    "jobs_interrupted", "Consuming jobs was interrupted, the database is unavailable: %s", "reason"
)
JOBS_RECOVERED: Final = Event("jobs_recovered", "%d predictions had lost their jobs and got new ones", "count")
JOB_ERROR: Final = Event("job_error", "Job %s of %s failed", "job", "of")
KEYS_MISSING: Final = Event("keys_missing", "There are no API keys, so every request is rejected: %s", "remedy")
KEY_REFUSED: Final = Event("key_refused", "Refused an unknown, expired or revoked API key")
MIGRATIONS_APPLIED: Final = Event("migrations_applied", "Migrations applied: %s", "migrations")
MIGRATION_BLOCKED: Final = Event(
    "migration_blocked", "The migration waits for a lock of %s: end that session, or wait", "sessions"
)
MIGRATION_QUEUED: Final = Event("migration_queued", "Waiting for another process that migrates the database")
MODEL_BROKEN: Final = Event("model_broken", "%s Skipping this model.", "reason")
MODEL_CHANGED: Final = Event("model_changed", "Unloaded model %s: its folder changed or was removed", "model")
MODEL_EXPORTED: Final = Event("model_exported", "Exported %s, version %s, to %s", "model", "version", "folder")
MODEL_FALLBACK: Final = Event("model_fallback", "%s", "reason")
MODEL_NOT_LOADED: Final = Event("model_not_loaded", "Model %s could not be loaded at startup", "model")
MODEL_NOT_TRIED: Final = Event(
    "model_not_tried", "Model %s could not be checked yet: the process that checks models did not start", "model"
)
MODEL_TRAINED: Final = Event(
    "model_trained", "%s classifies %.1f %% of %d held-out rows correctly", "model", "percent", "rows"
)
MODEL_UNLOADED: Final = Event(
    "model_unloaded", "Unloaded model %s, the least recently used: MODELS_MEMORY_BYTES is exceeded", "model"
)
NOTICES_ERROR: Final = Event("notices_error", "Listening for status changes failed")
NOTICES_INTERRUPTED: Final = Event("notices_interrupted", "Listening for status changes was interrupted: %s", "reason")
POSTGRES_AWAITED: Final = Event("postgres_awaited", "Waiting for the previous PostgreSQL in %s to stop", "folder")
POSTGRES_CREATING: Final = Event("postgres_creating", "Creating the embedded PostgreSQL in %s", "folder")
POSTGRES_DIED: Final = Event(
    "postgres_died", "The embedded PostgreSQL exited (status %d); restarting it", "exit_status"
)
POSTGRES_ERROR: Final = Event("postgres_error", "The embedded PostgreSQL could not be started; trying again")
POSTGRES_KILLED: Final = Event(
    "postgres_killed", "The embedded PostgreSQL does not stop; killing it (the next start recovers its data)"
)
POSTGRES_LEAVING: Final = Event("postgres_leaving", "The previous PostgreSQL is already stopping")
POSTGRES_NOT_STARTED: Final = Event("postgres_not_started", "%s Trying again.", "reason")
POSTGRES_STARTED: Final = Event(
    "postgres_started", "Embedded PostgreSQL started on the socket in %s, data in %s", "socket", "folder"
)
POSTGRES_STOPPED: Final = Event("postgres_stopped", "Embedded PostgreSQL stopped")
PREDICTION: Final = Event("prediction", "Prediction %d %s after %.1f ms", "prediction_id", "status", "duration_ms")
PREDICTIONS_HANDED_BACK: Final = Event(
    "predictions_handed_back", "Stopping: releasing %d unfinished predictions", "count"
)
PREDICTIONS_RECOVERED: Final = Event(
    "predictions_recovered", "Recovered lost predictions: %d pending again, %d failed", "orphaned", "failed"
)
PREDICTION_DELAYED: Final = Event("prediction_delayed", "Prediction %d is delayed: %s", "prediction_id", "reason")
PREDICTION_ERROR: Final = Event("prediction_error", "Attempt %d at prediction %d failed", "attempt", "prediction_id")
PREDICTION_LOST: Final = Event(
    "prediction_lost", "Prediction %d was deleted or taken over by another attempt", "prediction_id"
)
PREDICTION_UNAWAITED: Final = Event("prediction_unawaited", "Stopped waiting for prediction %d", "prediction_id")
QUEUE_NOT_TIDY: Final = Event("queue_not_tidy", "More queue log rows to delete")
RENDITION_NOT_CACHED: Final = Event(
    "rendition_not_cached", "Rendered images cannot be cached in %s: %s", "folder", "reason"
)
RENDITION_NOT_DELETED: Final = Event(
    "rendition_not_deleted", "A rendered image in %s cannot be deleted: %s", "folder", "reason"
)
REQUEST: Final = Event("request", "%s %s %d after %.1f ms", "method", "route", "status", "duration_ms")
REQUEST_ERROR: Final = Event("request_error", "Unexpected error while handling a request")
REQUEST_FAILED: Final = Event("request_failed", "%s %s: %s", "method", "path", "reason")
RETENTION_REMOVED: Final = Event(
    "retention_removed", "Deleted %d old predictions with %d bytes of images", "predictions", "bytes"
)
SERVING: Final = Event("serving", "Serving on %s (Ctrl-C stops)", "url")
SHADOW_ERROR: Final = Event(
    "shadow_error", "Classifying prediction %d with the shadow model failed unexpectedly", "prediction_id"
)
STOPPED: Final = Event("stopped", "Stopped")
STOPPING: Final = Event("stopping", "Stopping")
STORAGE_NOT_MARKED: Final = Event(
    "storage_not_marked", "%s is not marked as this database's storage: deleting nothing", "storage"
)
STORAGE_NOT_OURS: Final = Event("storage_not_ours", "%s has no owner mark: is the shared folder mounted?", "storage")
SWEEP_REMOVED: Final = Event("sweep_removed", "Deleted %d images without a prediction", "images")
TAKING_JOBS: Final = Event("taking_jobs", "Consuming jobs (Ctrl-C stops)")
TASK_DELAYED: Final = Event("task_delayed", "%s is delayed: %s", "task", "reason")
TASK_ERROR: Final = Event("task_error", "%s failed", "task")
TRAINING_DELAYED: Final = Event("training_delayed", "Training %d is delayed: %s", "training_id", "reason")
TRAINING_ENDED: Final = Event(
    "training_ended",
    "Training %d of %s: %s of the answers in cross-validation are right, with %d examples",
    *("training_id", "model", "accuracy", "examples"),
)
TRAINING_ERROR: Final = Event("training_error", "Training %d failed unexpectedly", "training_id")
TRAINING_FAILED: Final = Event("training_failed", "Training %d failed: %s", "training_id", "reason")
TRAINING_LOST: Final = Event("training_lost", "Training %d was deleted or taken over by another process", "training_id")
WEBHOOK_ERROR: Final = Event("webhook_error", "Attempt %d at webhook %d failed", "attempt", "webhook_id")
WEBHOOK_FAILED: Final = Event(
    "webhook_failed", "Webhook %d, attempt %d: %s; next attempt in: %s", "webhook_id", "attempt", "reason", "next"
)
WEBHOOK_REFUSED: Final = Event("webhook_refused", "Webhook %d was not sent: %s", "webhook_id", "reason")
WEBHOOK_UNREACHABLE: Final = Event("webhook_unreachable", "Webhook %d: connection failed: %s", "webhook_id", "reason")
WEIGHTS_UNAVAILABLE: Final = Event("weights_unavailable", "%s", "reason")
WORKER_LEAVES_LATE: Final = Event(
    "worker_leaves_late",
    "The database is unavailable: this worker will be considered gone in %s",
    "alive_for",
)
WORKER_STOPPED_AT_ONCE: Final = Event(
    "worker_stopped_at_once", "Stopped immediately: other workers take over the active jobs"
)
