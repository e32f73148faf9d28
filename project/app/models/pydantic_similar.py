"""Bodies about similar images, each with an example."""

from pydantic import BaseModel, ConfigDict, Field

from app.models.pydantic import EXAMPLE_PREDICTION, PredictionRead


class SimilarRead(BaseModel):
    """An image that is similar to another one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prediction": EXAMPLE_PREDICTION, "similarity": 0.8312, "near_duplicate": False}]
        }
    )

    prediction: PredictionRead
    similarity: float = Field(description="Cosine similarity of the embeddings, -1 to 1.")
    near_duplicate: bool = Field(description="Whether the two are nearly the same image, such as copies and crops.")
