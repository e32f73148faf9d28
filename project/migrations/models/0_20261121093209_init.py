from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
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
COMMENT ON COLUMN "predictions"."status" IS 'PENDING: pending\nPROCESSING: processing\nSUCCEEDED: succeeded\nFAILED: failed';
COMMENT ON TABLE "predictions" IS 'One uploaded image and what a model said of it.';
CREATE TABLE "aerich" (
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
    "eJztmmtv4jgUhv9KlE9dabaiFGi33yikHVYUqsJcNBdFbnwAq4mTiZ1pu7P972s7gdwpYV"
    "qGYfkG5/h1zPP6GvxDd1wMNju89gETixOX6mfaD50iB8SHguwbTUeeF+dkgKNbWxX3FuVU"
    "HN0y7iOLi9QE2QxECAOzfOJFD9KHFLTAs12EAWvEQVPQEMXa/QxxDWnqCRpDBGvuRCP8UF"
    "aKXUvUSuh0TX1AybcATO5Ogc/AF7V8/irChGJ4ACa/ftYZRzxQP4Fg/atMe3fmhICNU3RE"
    "UqRU3OSPnoqdk2mP8gtVVrb21rRcO3BoXN575DOXLgSEchmdAgUfcZBP4H4gWdHAtiOyc3"
    "xh4+MiYasTGgwTFNiSuFSHDYhjumkOhmNzZIxNU8+5MVckAEchSxgqnBRNZQrAVDbhz7/q"
    "9ePjk3rtuHXabJycNE9rp6Ksam8+dfIUNiamFValmPUue4OxbJArukvYlWTgSWkQR6FKmR"
    "PTnxAb1OecB50Z8osdSGoyPogfmPVhTn2ZEfNA7ETc1TdhhYMeTPGbpnwmvtabzSWY37dv"
    "Om/bNwei1B9p2IMoVQ9zknuil8thZXpIPKEC6bTqZVj/2k7/+qTFEzlQHmKqwDqr28Ge3W"
    "qsgLvVKKUtU2nYjPwD5u0jB1ZtEk/rnp/MfwfUG5zPYwPuCS6aUkrBL8rvEvP6UeOkcXrc"
    "aixQLyLLCOdpzoBMZ7wCzliw51nAk81QvdmqMgvHiv38u8r8u9hj5wEbNHAU5J5oEqIW5G"
    "Ev1JuDrXtAsURWjbh+bQy6vcHlmRbpv9Drm2HHGI3CoO9awJiKj951OobRNbpnGgssC0Ac"
    "a77Qi3avL0MTJHavOHsGWsW9o9YK7h21St2TqbR73PVML3UqTLs4hoeSeSevXMvBaOu3La"
    "NlCd+x8VGthQ5j3+wk14Or9keF3HmMMv3h4HJePOFDpz88z28VJwRDNDTS7C/EebgEflqW"
    "AT+Rup1C3x2+O+8b2vWN0emNesNBCnaYlCERIFwhuDHa/QxpZNtm5r1GGvffo+GgmHaBNI"
    "NcprR/NZuw3QIvmSzv89nuLdm4jE99VYuqINvn1eucKivyQrBfkFdYkBUt8zv4rHBGfwZz"
    "UrjHvQJu8H3XFxRxpaN+WrULK+dmODtii4WmBajLNyo54S7Q3vQ+BXEOjscLls3Sg2lSsr"
    "mjae21uvcLn0ttQAxMePCIWClNVHDi7woynDhQTLdIn92URBUczj/sVjfvXRmjcfvqOtXX"
    "u+2xITP19BYxih5kj0aLSrQPvfFbTX7VPg0HRnYbsyg3/qTLNqGAuyZ1702Ek0zm4Xkovd"
    "X3QXJfw+u08gVc3ro1WvxAPKT2Y9QDfxPbo8Gy1HXGkb+e62nlfmxv9dh2Hc+GNUd3Rrt3"
    "erud9n2w1nU6rd07vW1Oyysik7vENQUZuEXW3T3ysZnLuHW3rGw+5dSdbARRcSTBEU3Zzu"
    "ieTht8Ys30ghs8UebNsts7KC7z3MWdcmOfv15T6TrN/+UuzU+eD8pvyazxPme33+S8ys0N"
    "OagqEI6K7yDdo1ptlb+aarXy/5pkrvBeTJVX7wnJT71y3zbam3jn/ksXs6f/AHn8igU="
)
