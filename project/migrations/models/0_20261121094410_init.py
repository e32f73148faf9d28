from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    # The table aerich is there already after a downgrade.
    return """
        CREATE TABLE "predictions" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "filename" VARCHAR(255) NOT NULL,
    "image_path" VARCHAR(255) NOT NULL UNIQUE,
    "content_type" VARCHAR(64) NOT NULL,
    "size_bytes" BIGINT NOT NULL,
    "width" INT NOT NULL,
    "height" INT NOT NULL,
    "sha256" VARCHAR(64) NOT NULL,
    "status" VARCHAR(16) NOT NULL,
    "top_prediction" TEXT,
    "confidence" DOUBLE PRECISION,
    "all_predictions" JSONB,
    "model" VARCHAR(64) NOT NULL,
    "model_version" VARCHAR(64) NOT NULL,
    "error_code" VARCHAR(64),
    "error_message" TEXT,
    "attempts" INT NOT NULL,
    "lease_expires_at" TIMESTAMPTZ,
    "created_at" TIMESTAMPTZ NOT NULL,
    "started_at" TIMESTAMPTZ,
    "completed_at" TIMESTAMPTZ,
    "corrected_at" TIMESTAMPTZ
);
CREATE INDEX "idx_predictions_status_5b56d9" ON "predictions" ("status", "id");
COMMENT ON COLUMN "predictions"."status" IS 'pending, processing, succeeded or failed';
COMMENT ON TABLE "predictions" IS 'One uploaded image and what a model said of it.';
CREATE TABLE IF NOT EXISTS "aerich" (
    "id" SERIAL NOT NULL PRIMARY KEY,
    "version" VARCHAR(255) NOT NULL,
    "app" VARCHAR(100) NOT NULL,
    "content" JSONB NOT NULL
);"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    # The table aerich stays: the downgrade itself is recorded there.
    return """
        DROP TABLE "predictions";"""


MODELS_STATE = (
    "eJztmmtz2jgUhv+Kx5+yM9kMcYBk+40ktGUngUxCdzvtdDTCOhhNfKslN2G7+e8rycZ3E0"
    "wTSlm+mXP0yvLzyroYfdcdj4DNjm4CINTk1HP1N9p33cUOiIuK7KGmY99PczLA8cRWxf2k"
    "nIrjCeMBNrlITbHNQIQIMDOgfnwjfeSCFvq2hwkQjTrYAg27RHuYYa5hTd1BY5gSzZtqlB"
    "/JSolnilqpa62pD136NQTEPQv4DAJRy+cvIkxdAo/A5M/POuOYh+oRKNG/yLR/j6YUbJKj"
    "I5IipeKIz30VO6fWwOVvVVnZ2gkyPTt03LS8P+czz00E1OUyaoELAeYg78CDULJyQ9uOyS"
    "7wRY1Pi0StzmgITHFoS+JSHTUgjekIDUdjdNcfI6SX3FgoMoDjkCkMFU6KpjIFwJJN+P0P"
    "wzg5OTVaJ92zTvv0tHPWOhNlVXvLqdOnqDEpragqxWzwbjAcywZ5ortEXUkGnpQGcxyplD"
    "kp/Sm1QV2XPLiY4aDagaym4IN4wKIPC+rLjFgEUifSrr4JKxz8iMQzWXwmfhqdzhLMf/Vu"
    "L973bg9Eqd/ysIdxyohyknuml8vXCvlY3KEB6bzqZVj/3E7/+qTFHTm4PMLUgHVRt4M9u9"
    "teAXe3XUtbpvKwGf0H0GTOgTUbxPO65wfzXwH1Bsfz1IAHSqqGlFrwSfldYm4ct0/bZyfd"
    "doI6iSwjXKY5A2rNeAOcqWDPs4Inm2Gj020yCqeK/fi7yvibrLHLgPtu6CjIA9Ek7JpQhp"
    "2oNwdb98ElElkz4gvZoeYHngmMqWsWmiaA3LZ4gbiXWJeS4u5mFV+Ouyv4ctyt9UWm8r5w"
    "z0d+br+X92cMjzUjSlm5ljfxom5b3oMlfMf9j2qWcxj7ame5Hlz3PirkzjzOXI2G7xbFMz"
    "5cXI3Oy4vAKSUQd/o8+7dip1sDPy8rgJ9K3U6hvxx9OL/qaze3/YvB3WA0zMGOkjIkApQr"
    "BLf93lWBNLZtVPhikcf9591oWE27QlpALlPav5pN2W6Bl0yW9/li95ZsPMatQNWiKij2ef"
    "Whpslcmwj2U+0KU62ihb5BwCpH9GcwZ4V73CvghiDwAkGRNNrE51W7MHNuhrMjVlTYqkBd"
    "v1ApCXeB9qbXKZhzcHxeMW3Wbjmzks1tOluv1b1feMdpA2aA4NGnYqZEuGIvfynIcOpANd"
    "0qfXFREldwtLjYrW4+uO7fjXvXN7m+ftkb92XGyC8R4+hBcWuUVKL9PRi/1+RP7dNo2C8u"
    "Y5Jy40+6bBMOuYdc7wFhkmWyCC9C+aV+AJL7Gl7nlS/g8tbN0eIByci153EP/EVsj1+Wpa"
    "4zjoP1XM8r9+/2Vr/bnuPbsObbXdDund5up4MAzHWdzmv3Tm+b0/Lwx/Q+cwBBBibYvH/A"
    "AUGljGd4dWXLKcdwihHsii0JiWnKdsYncHoQUHOmV5zNiTOHy87l4LTMc0dy6o19/uBMo4"
    "My/5dTMj+4P6g//7LG95zd/pLzKmcy5EvVgHBcfAfpHrdaq/zV1GrV/9ckc5UnXpp8es9I"
    "fuiT+7bR3sQ39586mT39B41Bfsw="
)
