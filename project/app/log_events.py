"""What the log tells of: each event has a name that stays, and a sentence for people.

A program that reads the log (``LOG_FORMAT=json``) finds the name as ``event``, and in fields what
the sentence is about.
"""

from typing import Final, Self


class Event(str):
    """The sentence, as ``logging`` takes it, with what follows it as arguments; ``fields`` are their names."""

    __slots__ = ("fields", "name")

    name: str
    fields: tuple[str, ...]

    def __new__(cls, name: str, sentence: str, *fields: str) -> Self:
        """Make a constant of this module."""
        event = super().__new__(cls, sentence)
        event.name, event.fields = name, fields
        return event


ANSWERS_NOT_KEPT: Final = Event(
    "answers_not_kept", "%d answers of %s are not kept: the database is away", "count", "model"
)
ATTEMPT_ERROR: Final = Event("attempt_error", "The first attempt at an image went wrong")
BACKLOG_ERROR: Final = Event("backlog_error", "Looking at the backlog went wrong")
BACKLOG_UNKNOWN: Final = Event("backlog_unknown", "The backlog cannot be looked at: the database is away")
BATCH_IMAGE_ERROR: Final = Event("batch_image_error", "Image %d of a batch went wrong", "number")
CLIENT_STALLED: Final = Event("client_stalled", "A client %s for too long: its connection is ended", "reason")
DATABASE_AWAITED: Final = Event("database_awaited", "Waiting for the database at %s: %s", "address", "reason")
DOWNLOAD_STARTED: Final = Event("download_started", "Downloading %s", "url")
ENGINE_DIED: Final = Event(
    "engine_died", "%s died (%s) with %d requests in hand: starting it anew", "engine", "exit_status", "in_hand"
)
ENGINE_ERROR: Final = Event("engine_error", "The engine failed at %s", "asked")
ENGINE_NOT_STARTED: Final = Event("engine_not_started", "%s could not be started. Trying again.", "engine")
ENGINE_SAID: Final = Event("engine_said", "The engine says: %s", "said")
EXPORT_CALIBRATING: Final = Event("export_calibrating", "Calibrating on %d images", "count")
EXPORT_COMPARED: Final = Event("export_compared", "Answers agree with the original's within %.1g", "difference")
EXPORT_CONVERTING: Final = Event("export_converting", "Converting %s to LiteRT", "model")
EXPORT_FALLBACK: Final = Event("export_fallback", "%s", "reason")
EXPORT_FEW_IMAGES: Final = Event(
    "export_few_images", "Calibrating on %d images only: %d or more are better", "count", "enough"
)
EXPORT_NO_IMAGE: Final = Event("export_no_image", "%s is no image: not used to calibrate", "path")
EXPORT_QUANTISING: Final = Event("export_quantising", "Quantising to int8")
IMAGES_NOT_REMOVED: Final = Event("images_not_removed", "Images could not be removed (%s): %s", "reason", "keys")
IMAGE_MISSING: Final = Event("image_missing", "The image %s is missing", "key")
IMAGE_NOT_FETCHED: Final = Event("image_not_fetched", "An image is not fetched: %s", "reason")
IMAGE_NOT_REMOVED: Final = Event("image_not_removed", "The image %s could not be removed", "key")
IMAGE_OVERDUE: Final = Event(
    "image_overdue", "An image takes longer than %g s (MAX_IMAGE_SECONDS): it fails", "seconds"
)
JOBS_ERROR: Final = Event("jobs_error", "Taking jobs went wrong; it goes on in a moment")
JOBS_INTERRUPTED: Final = Event("jobs_interrupted", "Taking jobs was interrupted, the database is away: %s", "reason")
JOBS_RECOVERED: Final = Event("jobs_recovered", "%d predictions had lost their jobs and have new ones", "count")
JOB_ERROR: Final = Event("job_error", "The job %s of %s went wrong", "job", "of")
KEYS_MISSING: Final = Event("keys_missing", "There are no API keys, so nobody is let in: %s", "remedy")
MIGRATIONS_APPLIED: Final = Event("migrations_applied", "Migrations applied: %s", "migrations")
MODEL_BROKEN: Final = Event("model_broken", "%s It is left out.", "reason")
MODEL_CHANGED: Final = Event("model_changed", "Model %s has changed or is gone: unloaded", "model")
MODEL_EXPORTED: Final = Event("model_exported", "Exported %s, version %s, to %s", "model", "version", "folder")
MODEL_FALLBACK: Final = Event("model_fallback", "%s", "reason")
MODEL_NOT_LOADED: Final = Event("model_not_loaded", "The model %s could not be loaded at the start", "model")
MODEL_NOT_TRIED: Final = Event(
    "model_not_tried", "The model %s could not be tried yet: the process for it does not start", "model"
)
MODEL_TRAINED: Final = Event(
    "model_trained", "%s is right about %.1f %% of %d rows it was not trained on", "model", "percent", "rows"
)
MODEL_UNLOADED: Final = Event(
    "model_unloaded", "Model %s unloaded, as the least recently used: MODELS_MEMORY_BYTES is used up", "model"
)
NOTICES_ERROR: Final = Event("notices_error", "Listening for changes of predictions went wrong")
NOTICES_INTERRUPTED: Final = Event(
    "notices_interrupted", "Listening for changes of predictions was interrupted: %s", "reason"
)
POSTGRES_AWAITED: Final = Event("postgres_awaited", "Waiting for the previous PostgreSQL of %s to end", "folder")
POSTGRES_CREATING: Final = Event("postgres_creating", "Creating the embedded PostgreSQL in %s", "folder")
POSTGRES_DIED: Final = Event(
    "postgres_died", "The embedded PostgreSQL ended by itself (status %d); starting it again", "exit_status"
)
POSTGRES_ERROR: Final = Event("postgres_error", "The embedded PostgreSQL could not be started. Trying again.")
POSTGRES_KILLED: Final = Event(
    "postgres_killed", "Embedded PostgreSQL does not stop; ending it at once, the next start recovers it"
)
POSTGRES_LEAVING: Final = Event("postgres_leaving", "The previous server is already on its way out")
POSTGRES_NOT_STARTED: Final = Event("postgres_not_started", "%s Trying again.", "reason")
POSTGRES_STARTED: Final = Event(
    "postgres_started", "Embedded PostgreSQL started on port %d, data in %s", "port", "folder"
)
POSTGRES_STOPPED: Final = Event("postgres_stopped", "Embedded PostgreSQL stopped")
PREDICTION: Final = Event("prediction", "Prediction %d %s after %.1f ms", "prediction_id", "status", "duration_ms")
PREDICTIONS_HANDED_BACK: Final = Event("predictions_handed_back", "Stopping: %d predictions are handed back", "count")
PREDICTIONS_RECOVERED: Final = Event(
    "predictions_recovered", "Lost predictions: %d to be classified again, %d failed", "orphaned", "failed"
)
PREDICTION_DELAYED: Final = Event(
    "prediction_delayed", "Prediction %d has to wait: the storage is away", "prediction_id"
)
PREDICTION_ERROR: Final = Event(
    "prediction_error", "Attempt %d at prediction %d went wrong", "attempt", "prediction_id"
)
PREDICTION_LOST: Final = Event("prediction_lost", "Prediction %d was deleted or taken over meanwhile", "prediction_id")
PREDICTION_UNAWAITED: Final = Event(
    "prediction_unawaited", "Nobody waits for prediction %d any longer", "prediction_id"
)
QUEUE_NOT_TIDY: Final = Event("queue_not_tidy", "There is more to be removed")
REQUEST: Final = Event("request", "%s %s %d after %.1f ms", "method", "route", "status", "duration_ms")
REQUEST_ERROR: Final = Event("request_error", "A request went wrong")
REQUEST_FAILED: Final = Event("request_failed", "%s %s: %s", "method", "path", "reason")
RETENTION_REMOVED: Final = Event(
    "retention_removed", "Removed %d old predictions with %d bytes of images", "predictions", "bytes"
)
SERVING: Final = Event("serving", "Serving on %s (Ctrl-C stops)", "url")
STOPPED: Final = Event("stopped", "Stopped")
STOPPING: Final = Event("stopping", "Stopping")
STORAGE_NOT_MARKED: Final = Event(
    "storage_not_marked", "%s is not marked as this database's: nothing is removed", "storage"
)
STORAGE_NOT_OURS: Final = Event(
    "storage_not_ours", "%s is not where images were stored: is the shared folder mounted?", "storage"
)
SWEEP_REMOVED: Final = Event("sweep_removed", "Removed %d images that no prediction names", "images")
TAKING_JOBS: Final = Event("taking_jobs", "Taking jobs (Ctrl-C stops)")
TASK_DELAYED: Final = Event("task_delayed", "%s has to wait: %s", "task", "reason")
TASK_ERROR: Final = Event("task_error", "%s went wrong", "task")
WEBHOOK_ERROR: Final = Event("webhook_error", "Attempt %d at webhook %d went wrong", "attempt", "webhook_id")
WEBHOOK_FAILED: Final = Event(
    "webhook_failed", "Webhook %d, attempt %d: %s; next: %s", "webhook_id", "attempt", "reason", "next"
)
WEBHOOK_REFUSED: Final = Event("webhook_refused", "Webhook %d is not sent: %s", "webhook_id", "reason")
WEBHOOK_UNREACHABLE: Final = Event("webhook_unreachable", "Webhook %d has no connection: %s", "webhook_id", "reason")
WEIGHTS_UNAVAILABLE: Final = Event("weights_unavailable", "%s", "reason")
WORKER_LEAVES_LATE: Final = Event(
    "worker_leaves_late", "The database is away: this worker is missed in %s", "alive_for"
)
WORKER_STOPPED_AT_ONCE: Final = Event(
    "worker_stopped_at_once", "Stopped at once: what was in hand is taken by other workers"
)
