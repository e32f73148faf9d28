"""Tables. Change them only together with a migration in ``migrations/models/``.

Docstrings of tables and descriptions of columns are comments in the database: changing one needs a migration, too.
"""

from typing import Any

from tortoise import fields
from tortoise.models import Model, ModelMeta

from app.domain import MAX_FILENAME, Decision, DeliveryStatus, Status, Use, Verdict


class WithoutComments(ModelMeta):
    """Keeps Tortoise from reading this file again for each class, for ``#:`` comments: 0.1 s of each start."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> ModelMeta:
        """Create the class."""
        return super().__new__(cls, name, bases, {**attributes, "_no_comments": True})


class Table(Model, metaclass=WithoutComments):
    """Base class of all tables."""

    class Meta:
        """No table of its own."""

        abstract = True


class Prediction(Table):
    """One uploaded image and what a model said of it."""

    id = fields.BigIntField(primary_key=True)
    filename = fields.CharField(max_length=MAX_FILENAME)
    image_path = fields.CharField(max_length=255, unique=True)
    content_type = fields.CharField(max_length=64)
    size_bytes = fields.BigIntField()
    width = fields.IntField()
    height = fields.IntField()
    sha256 = fields.CharField(max_length=64)

    status = fields.CharEnumField(
        Status, max_length=16, default=Status.PENDING, description="pending, processing, succeeded or failed"
    )
    top_prediction: str | None = fields.TextField(null=True)
    confidence: float | None = fields.FloatField(null=True)
    all_predictions: fields.JSONField[list[dict[str, object]]] = fields.JSONField(null=True)
    model = fields.CharField(max_length=64)
    model_version = fields.CharField(max_length=64)

    error_code = fields.CharField(max_length=64, null=True)
    error_message: str | None = fields.TextField(null=True)
    attempts = fields.IntField(default=0)
    # While a row is processing: when its worker loses it, unless it renews the lease.
    lease_expires_at = fields.DatetimeField(null=True)

    created_at = fields.DatetimeField(auto_now_add=True)
    started_at = fields.DatetimeField(null=True)
    completed_at = fields.DatetimeField(null=True)
    corrected_at = fields.DatetimeField(null=True)
    cached = fields.BooleanField(
        db_default=False, description="Answered by an earlier one, of the same bytes and model."
    )
    key_id: int | None = fields.BigIntField(null=True, description="Of the API key that uploaded it.")
    interruptions = fields.SmallIntField(
        db_default=0, description="Attempts that ended with their process; they are not counted."
    )
    reviewed_at = fields.DatetimeField(null=True)
    reviewed_by = fields.CharField(max_length=64, null=True, description="Name of the API key, or who else it was.")
    verdict = fields.CharEnumField(
        Verdict, max_length=16, null=True, description="confirmed: the person's label is the model's; or corrected"
    )
    review_sampled = fields.BooleanField(
        null=True, description="Reviewed as part of the random sample, not because the model was uncertain."
    )
    categories: fields.JSONField[list[dict[str, object]]] = fields.JSONField(
        null=True, description="Sums of the confidences of all labels in each category."
    )
    decision = fields.CharEnumField(Decision, max_length=8, null=True, description="sure or unsure")

    class Meta:
        """Table and indexes."""

        table = "predictions"
        indexes = (
            # Pages of one status, model or label, newest first. Migration 5 creates the index for full-text search.
            ("status", "id"),
            ("model", "id"),
            ("top_prediction", "id"),
            ("confidence",),
            # The bytes that a key has stored are summed from the index alone.
            ("key_id", "size_bytes"),
            # Earlier predictions for the same bytes.
            ("sha256", "model_version"),
            # Pages and statistics of a period.
            ("created_at", "id"),
            # Migration 14 creates partial indexes for reviews, and migration 21 one for unsure results.
        )


class PastAnswer(Table):
    """What a model said of an image before another was asked: the prediction's columns of that time."""

    id = fields.BigIntField(primary_key=True)
    prediction: fields.ForeignKeyRelation[Prediction] = fields.ForeignKeyField(
        "models.Prediction", related_name="past_answers", on_delete=fields.CASCADE, db_index=True
    )
    status = fields.CharEnumField(Status, max_length=16, description="succeeded or failed")
    top_prediction: str | None = fields.TextField(null=True)
    confidence: float | None = fields.FloatField(null=True)
    all_predictions: fields.JSONField[list[dict[str, object]]] = fields.JSONField(null=True)
    model = fields.CharField(max_length=64)
    model_version = fields.CharField(max_length=64)
    error_code = fields.CharField(max_length=64, null=True)
    error_message: str | None = fields.TextField(null=True)
    attempts = fields.IntField()
    started_at = fields.DatetimeField(null=True)
    completed_at = fields.DatetimeField(null=True)
    corrected_at = fields.DatetimeField(null=True)
    replaced_at = fields.DatetimeField()

    class Meta:
        """Table."""

        table = "past_answers"


class TabularPrediction(Table):
    """What a tabular model said of one row of features; written after it was answered."""

    id = fields.BigIntField(primary_key=True)
    model = fields.CharField(max_length=64)
    model_version = fields.CharField(max_length=64)
    features: fields.JSONField[dict[str, float]] = fields.JSONField()
    label = fields.TextField()
    probabilities: fields.JSONField[dict[str, float]] = fields.JSONField()
    cached = fields.BooleanField(description="Answered from the cache.")
    created_at = fields.DatetimeField()

    class Meta:
        """Table and indexes."""

        table = "tabular_predictions"
        indexes = (("model", "id"),)


class WorkerProcess(Table):
    """A process that takes jobs from the queue, as it last announced itself."""

    id = fields.UUIDField(primary_key=True)
    name = fields.CharField(max_length=255, description="Host and process id, for people.")
    models: fields.JSONField[list[dict[str, object]]] = fields.JSONField(description="What it can be asked for.")
    started_at = fields.DatetimeField()
    seen_at = fields.DatetimeField()

    class Meta:
        """Table."""

        table = "workers"


class IdempotencyKey(Table):
    """An upload that a client may send again without having it done again (``Idempotency-Key``)."""

    key = fields.CharField(max_length=255, primary_key=True)
    fingerprint = fields.CharField(max_length=64, description="Of what was uploaded, SHA-256 in hexadecimal.")
    # Without one, the upload is in progress, or its process died.
    prediction_id: int | None = fields.BigIntField(null=True)
    answer: str | None = fields.TextField(null=True, description="The first answer, as it was sent.")
    claimed_at = fields.DatetimeField()
    owner: int | None = fields.BigIntField(null=True, description="Advisory lock of the process of the upload.")

    class Meta:
        """Table and indexes."""

        table = "idempotency_keys"
        indexes = (("claimed_at",),)


class ApiKey(Table):
    """Who may use the service; of the key itself only a hash is kept."""

    id = fields.BigIntField(primary_key=True)
    name = fields.CharField(max_length=64, description="What people call it.")
    public_id = fields.CharField(max_length=16, unique=True, description="The part of the key that is no secret.")
    hash = fields.CharField(max_length=64, description="Of its secret, SHA-256 in hexadecimal.")
    scopes = fields.CharField(max_length=64, description="read, write, admin; separated by commas.")
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField(null=True)
    revoked_at = fields.DatetimeField(null=True)
    used_at = fields.DatetimeField(null=True, description="Lately, to the minute.")

    class Meta:
        """Table."""

        table = "api_keys"


class Session(Table):
    """A browser that signed in with a key."""

    hash = fields.CharField(max_length=64, primary_key=True, description="Of the cookie, SHA-256 in hexadecimal.")
    key: fields.ForeignKeyRelation[ApiKey] = fields.ForeignKeyField(
        "models.ApiKey", related_name="sessions", on_delete=fields.CASCADE, db_index=True
    )
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()

    class Meta:
        """Table and indexes."""

        table = "sessions"
        indexes = (("expires_at",),)


class RateLimit(Table):
    """How much a key, or an address, has used of what it may use in a while."""

    subject = fields.CharField(max_length=80, primary_key=True, description="Of whom, and of what.")
    free_at = fields.DatetimeField(description="When all of it can be used again.")

    class Meta:
        """Table and indexes."""

        table = "rate_limits"
        indexes = (("free_at",),)


class Change(Table):
    """A change that somebody made: it is kept, and never changed itself."""

    id = fields.BigIntField(primary_key=True)
    changed_at = fields.DatetimeField()
    key_id: int | None = fields.BigIntField(null=True, description="Of the API key that was used.")
    who = fields.CharField(max_length=64, description="The key's name, or who else it was.")
    action = fields.CharField(max_length=32, description="prediction.corrected, key.revoked, …")
    subject_id = fields.BigIntField(description="Id of the prediction, or of the key.")
    before: fields.JSONField[dict[str, object]] = fields.JSONField(null=True)
    after: fields.JSONField[dict[str, object]] = fields.JSONField(null=True)
    address = fields.CharField(max_length=64, null=True, description="Network address of the client.")

    class Meta:
        """Table and indexes."""

        table = "changes"
        indexes = (("subject_id", "action"),)


class Installation(Table):
    """The database itself: one row."""

    id = fields.UUIDField(primary_key=True, description="What its storage of images is marked with.")
    swept_at = fields.DatetimeField(null=True, description="When images without a row were last looked for.")
    default_model = fields.CharField(
        max_length=64, null=True, description="Chosen by people; without it, the one that MODEL selects."
    )

    class Meta:
        """Table."""

        table = "installation"


class Delivery(Table):
    """A webhook: where a prediction's end is told, and how far that has come."""

    id = fields.BigIntField(primary_key=True)
    prediction: fields.ForeignKeyNullableRelation[Prediction] = fields.ForeignKeyField(
        "models.Prediction", related_name="deliveries", on_delete=fields.CASCADE, db_index=True, null=True
    )
    training: "fields.ForeignKeyNullableRelation[Training]" = fields.ForeignKeyField(
        "models.Training", related_name="deliveries", on_delete=fields.CASCADE, db_index=True, null=True
    )
    url = fields.TextField()
    status = fields.CharEnumField(
        DeliveryStatus, max_length=16, description="waiting (for the prediction), pending, delivered or failed"
    )
    attempts = fields.IntField(default=0)
    next_attempt_at = fields.DatetimeField(null=True)
    response_status = fields.IntField(null=True, description="Of the last attempt.")
    error: str | None = fields.TextField(null=True, description="Of the last attempt.")
    created_at = fields.DatetimeField()
    delivered_at = fields.DatetimeField(null=True)

    class Meta:
        """Table and indexes."""

        table = "deliveries"
        indexes = (("status", "next_attempt_at"),)


class CustomModel(Table):
    """A model that learns a user's own labels from examples."""

    id = fields.BigIntField(primary_key=True)
    name = fields.CharField(max_length=64, unique=True)
    base = fields.CharField(max_length=64, description="Model whose embeddings it learns from.")
    labels: fields.JSONField[list[str]] = fields.JSONField(description="In the order in which they were added.")
    retrain_after = fields.IntField(description="New examples after which it trains by itself; 0: never.")
    training_id: int | None = fields.BigIntField(null=True, description="Training whose version is served.")
    created_at = fields.DatetimeField()
    key_id: int | None = fields.BigIntField(null=True, description="API key that created it.")
    who = fields.CharField(max_length=64, description="Name of that key, or who else it was.")
    label_names: str | None = fields.TextField(
        null=True, description="Names and categories of labels, as in labels.json of a model's folder."
    )

    class Meta:
        """Table."""

        table = "custom_models"


class Example(Table):
    """A image that a custom model learns from, or is checked with."""

    id = fields.BigIntField(primary_key=True)
    model: fields.ForeignKeyRelation[CustomModel] = fields.ForeignKeyField(
        "models.CustomModel", related_name="examples", on_delete=fields.CASCADE
    )
    prediction: fields.ForeignKeyRelation[Prediction] = fields.ForeignKeyField(
        "models.Prediction", related_name="examples", on_delete=fields.CASCADE, db_index=True
    )
    sha256 = fields.CharField(max_length=64, description="Of the image, SHA-256 in hexadecimal.")
    label = fields.TextField()
    use = fields.CharEnumField(Use, max_length=8, description="learn or check")
    added_at = fields.DatetimeField()
    key_id: int | None = fields.BigIntField(null=True, description="API key that added it.")
    who = fields.CharField(max_length=64, description="Name of that key, or who else it was.")
    from_review = fields.BooleanField(db_default=False, description="A review has added it.")
    label_before: str | None = fields.TextField(null=True, description="Its label before a review changed it.")

    class Meta:
        """Table and indexes."""

        table = "examples"
        unique_together = (("model", "sha256"),)
        indexes = (("model", "label", "id"), ("model", "added_at"))


class Training(Table):
    """A training of a custom model; once succeeded, a version of it."""

    id = fields.BigIntField(primary_key=True)
    model: fields.ForeignKeyRelation[CustomModel] = fields.ForeignKeyField(
        "models.CustomModel", related_name="trainings", on_delete=fields.CASCADE, db_index=True
    )
    status = fields.CharEnumField(Status, max_length=16, description="pending, processing, succeeded or failed")
    number: int | None = fields.IntField(null=True, description="Of the version, from 1.")
    requested_at = fields.DatetimeField()
    started_at = fields.DatetimeField(null=True)
    completed_at = fields.DatetimeField(null=True)
    lease_expires_at = fields.DatetimeField(null=True, description="When its process loses it.")
    attempts = fields.IntField(default=0)
    key_id: int | None = fields.BigIntField(null=True, description="API key that requested it.")
    who = fields.CharField(max_length=64, description="Name of that key, or who else it was.")
    labels: fields.JSONField[list[str]] = fields.JSONField(null=True)
    examples: int | None = fields.IntField(null=True, description="Number of examples.")
    examples_sha256 = fields.CharField(
        max_length=64, null=True, description="Of all examples and their labels, SHA-256 in hexadecimal."
    )
    base_version = fields.CharField(max_length=64, null=True)
    metrics: fields.JSONField[dict[str, object]] = fields.JSONField(null=True)
    answers: fields.JSONField[list[dict[str, object]]] = fields.JSONField(
        null=True, description="What cross-validation answered for each example."
    )
    head: bytes | None = fields.BinaryField(null=True, description="Weights: an .npz file.")
    head_sha256 = fields.CharField(max_length=64, null=True)
    decision: str | None = fields.TextField(null=True, description="Why it is served, or waits for a person.")
    error_code = fields.CharField(max_length=64, null=True)
    error_message: str | None = fields.TextField(null=True)
    progress: float | None = fields.FloatField(null=True, description="Share of the work that is done.")

    class Meta:
        """Table and indexes."""

        table = "trainings"
        indexes = (("status", "id"),)


class BitsField(fields.Field[object]):
    """Bits of any number."""

    SQL_TYPE = "VARBIT"


class Embedding(Table):
    """What a base model computed of a image before its scores."""

    id = fields.BigIntField(primary_key=True)
    prediction: fields.ForeignKeyRelation[Prediction] = fields.ForeignKeyField(
        "models.Prediction", related_name="embeddings", on_delete=fields.CASCADE
    )
    model = fields.CharField(max_length=64)
    model_version = fields.CharField(max_length=64)
    vector = fields.BinaryField(description="Half precision, little endian.")
    code = BitsField(null=True, description="A bit for each number of the vector, to find similar images.")

    class Meta:
        """Table and indexes."""

        table = "embeddings"
        unique_together = (("prediction", "model"),)


class Calibration(Table):
    """What reviews say about the confidences of a version of a model."""

    id = fields.BigIntField(primary_key=True)
    model = fields.CharField(max_length=64)
    model_version = fields.CharField(max_length=64)
    reviews = fields.IntField(description="Reviewed results when it was computed.")
    correct = fields.IntField(description="Right ones among them.")
    labels = fields.IntField(description="Labels of the model.")
    temperature: float | None = fields.FloatField(
        null=True, description="Divides the logits of confidences; none with too few reviews."
    )
    computed_at = fields.DatetimeField()

    class Meta:
        """Table and indexes."""

        table = "calibrations"
        unique_together = (("model", "model_version"),)


class DecisionThreshold(Table):
    """From which confidence on a model's results are sure, as chosen by people instead of the model's manifest."""

    id = fields.BigIntField(primary_key=True)
    model = fields.CharField(max_length=64, unique=True)
    sure_from: float | None = fields.FloatField(null=True, description="None: the manifest decides again.")
    labels: fields.JSONField[dict[str, float]] = fields.JSONField(description="Other thresholds for some labels.")
    precision: float | None = fields.FloatField(
        null=True, description="Share of right results for which it was chosen from reviews."
    )
    chosen_at = fields.DatetimeField()
    key_id: int | None = fields.BigIntField(null=True, description="API key that chose it.")
    who = fields.CharField(max_length=64, description="Name of that key, or who else it was.")

    class Meta:
        """Table."""

        table = "decision_thresholds"


class Shadow(Table):
    """A comparison of a second model with the default one, on a share of the uploads."""

    id = fields.BigIntField(primary_key=True)
    model = fields.CharField(max_length=64)
    share = fields.FloatField(description="Of the uploads, above 0 and up to 1.")
    first_id = fields.BigIntField(description="Predictions from this ID on are compared.")
    started_at = fields.DatetimeField()
    ended_at = fields.DatetimeField(null=True)
    key_id: int | None = fields.BigIntField(null=True, description="API key that started it.")
    who = fields.CharField(max_length=64, description="Name of that key, or who else it was.")

    class Meta:
        """Table."""

        table = "shadows"


class ShadowAnswer(Table):
    """What a second model says of an image, beside what the default model has said."""

    id = fields.BigIntField(primary_key=True)
    shadow: fields.ForeignKeyRelation[Shadow] = fields.ForeignKeyField(
        "models.Shadow", related_name="answers", on_delete=fields.CASCADE
    )
    prediction: fields.ForeignKeyRelation[Prediction] = fields.ForeignKeyField(
        "models.Prediction", related_name="shadow_answers", on_delete=fields.CASCADE, db_index=True
    )
    claimed_at = fields.DatetimeField(description="When a process has taken it.")
    completed_at = fields.DatetimeField(null=True)
    model_version = fields.CharField(max_length=64, null=True)
    all_predictions: fields.JSONField[list[dict[str, object]]] = fields.JSONField(null=True)
    error_code = fields.CharField(max_length=64, null=True)
    default_model = fields.CharField(max_length=64)
    default_version = fields.CharField(max_length=64)
    default_label: str = fields.TextField()

    class Meta:
        """Table and indexes."""

        table = "shadow_answers"
        unique_together = (("shadow", "prediction"),)
