from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "custom_models" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "name" VARCHAR(64) NOT NULL UNIQUE,
    "base" VARCHAR(64) NOT NULL,
    "labels" JSONB NOT NULL,
    "retrain_after" INT NOT NULL,
    "training_id" BIGINT,
    "created_at" TIMESTAMPTZ NOT NULL,
    "key_id" BIGINT,
    "who" VARCHAR(64) NOT NULL
);
COMMENT ON COLUMN "custom_models"."base" IS 'Model whose embeddings it learns from.';
COMMENT ON COLUMN "custom_models"."labels" IS 'In the order in which they were added.';
COMMENT ON COLUMN "custom_models"."retrain_after" IS 'New examples after which it trains by itself; 0: never.';
COMMENT ON COLUMN "custom_models"."training_id" IS 'Training whose version is served.';
COMMENT ON COLUMN "custom_models"."key_id" IS 'API key that created it.';
COMMENT ON COLUMN "custom_models"."who" IS 'Name of that key, or who else it was.';
COMMENT ON TABLE "custom_models" IS 'A model that learns a user''s own labels from examples.';
        CREATE TABLE IF NOT EXISTS "embeddings" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "model" VARCHAR(64) NOT NULL,
    "model_version" VARCHAR(64) NOT NULL,
    "vector" BYTEA NOT NULL,
    "prediction_id" BIGINT NOT NULL REFERENCES "predictions" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_embeddings_predict_a302eb" UNIQUE ("prediction_id", "model")
);
COMMENT ON COLUMN "embeddings"."vector" IS 'Half precision, little endian.';
COMMENT ON TABLE "embeddings" IS 'What a base model computed of a image before its scores.';
        CREATE TABLE IF NOT EXISTS "examples" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "sha256" VARCHAR(64) NOT NULL,
    "label" TEXT NOT NULL,
    "use" VARCHAR(8) NOT NULL,
    "added_at" TIMESTAMPTZ NOT NULL,
    "key_id" BIGINT,
    "who" VARCHAR(64) NOT NULL,
    "model_id" BIGINT NOT NULL REFERENCES "custom_models" ("id") ON DELETE CASCADE,
    "prediction_id" BIGINT NOT NULL REFERENCES "predictions" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_examples_model_i_d34cbf" UNIQUE ("model_id", "sha256")
);
CREATE INDEX IF NOT EXISTS "idx_examples_predict_ec6258" ON "examples" ("prediction_id");
CREATE INDEX IF NOT EXISTS "idx_examples_model_i_ea52ea" ON "examples" ("model_id", "label", "id");
CREATE INDEX IF NOT EXISTS "idx_examples_model_i_7bbfce" ON "examples" ("model_id", "added_at");
COMMENT ON COLUMN "examples"."sha256" IS 'Of the image, SHA-256 in hexadecimal.';
COMMENT ON COLUMN "examples"."use" IS 'learn or check';
COMMENT ON COLUMN "examples"."key_id" IS 'API key that added it.';
COMMENT ON COLUMN "examples"."who" IS 'Name of that key, or who else it was.';
COMMENT ON TABLE "examples" IS 'A image that a custom model learns from, or is checked with.';
        CREATE TABLE IF NOT EXISTS "trainings" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "status" VARCHAR(16) NOT NULL,
    "number" INT,
    "requested_at" TIMESTAMPTZ NOT NULL,
    "started_at" TIMESTAMPTZ,
    "completed_at" TIMESTAMPTZ,
    "lease_expires_at" TIMESTAMPTZ,
    "attempts" INT NOT NULL,
    "key_id" BIGINT,
    "who" VARCHAR(64) NOT NULL,
    "labels" JSONB,
    "examples" INT,
    "examples_sha256" VARCHAR(64),
    "base_version" VARCHAR(64),
    "metrics" JSONB,
    "answers" JSONB,
    "head" BYTEA,
    "head_sha256" VARCHAR(64),
    "decision" TEXT,
    "error_code" VARCHAR(64),
    "error_message" TEXT,
    "model_id" BIGINT NOT NULL REFERENCES "custom_models" ("id") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "idx_trainings_model_i_3b7125" ON "trainings" ("model_id");
CREATE INDEX IF NOT EXISTS "idx_trainings_status_dd9241" ON "trainings" ("status", "id");
-- A model is trained once at a time.
CREATE UNIQUE INDEX "uid_trainings_active" ON "trainings" ("model_id") WHERE "status" IN ('pending', 'processing');
COMMENT ON COLUMN "trainings"."status" IS 'pending, processing, succeeded or failed';
COMMENT ON COLUMN "trainings"."number" IS 'Of the version, from 1.';
COMMENT ON COLUMN "trainings"."lease_expires_at" IS 'When its process loses it.';
COMMENT ON COLUMN "trainings"."key_id" IS 'API key that requested it.';
COMMENT ON COLUMN "trainings"."who" IS 'Name of that key, or who else it was.';
COMMENT ON COLUMN "trainings"."examples" IS 'Number of examples.';
COMMENT ON COLUMN "trainings"."examples_sha256" IS 'Of all examples and their labels, SHA-256 in hexadecimal.';
COMMENT ON COLUMN "trainings"."answers" IS 'What cross-validation answered for each example.';
COMMENT ON COLUMN "trainings"."head" IS 'Weights: an .npz file.';
COMMENT ON COLUMN "trainings"."decision" IS 'Why it is served, or waits for a person.';
COMMENT ON TABLE "trainings" IS 'A training of a custom model; once succeeded, a version of it.';
        CREATE FUNCTION "notify_of_trainings"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('trainings', NEW.id || ' ' || NEW.status);
    RETURN NULL;
END
$$;
        CREATE TRIGGER "trainings_changed" AFTER INSERT OR UPDATE OF "status" ON "trainings"
    FOR EACH ROW EXECUTE FUNCTION "notify_of_trainings"();"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP TABLE IF EXISTS "trainings";
        DROP FUNCTION IF EXISTS "notify_of_trainings"();
        DROP TABLE IF EXISTS "examples";
        DROP TABLE IF EXISTS "embeddings";
        DROP TABLE IF EXISTS "custom_models";"""


MODELS_STATE = (
    "eJztXetz2zYS/1cw+tJkRsk4tuP4kk5n5MRpfHHsjK1cm/Y6CkRCFmqKYAkyitrL/3548f"
    "0QSUsyJONLYpFYPnbBxT5+u/inNyM2cujTgYffo0XvJfin58IZYn/kzvRBD3pecpwfCODY"
    "EUOhh0e3aCEOwjENfGgF7PgEOhSxQzailo+9ABOXj/5lSsAMLkBIEQimCFDkf8UWegXIRP"
    "xmVwI4oMiZAOI6CwDBFNIpwJSd8YKn/CY2sdhdsHuzouuFLv4rRKOA3CBG4bOr/v4HO4xd"
    "G31DNPrp3Y4mGDl2hk3Y5hcQx0fBwhPHTvDNmRu8FWP5045HFnHCmZuM9xbBlLgxAXYDfv"
    "QGuciHAeJ3CPyQ884NHUexOWKnfNhkiHzKFI2NJjB0uAQ4tXyA5FhvNLq4HI6uT4ejUa8g"
    "nYgixWB1yCIulyx7VCoYcMMf4cm/9vcPDl7s7x0cHT8/fPHi+fHeMRsrnrd46sV3+TAJt+"
    "SlBM/Ofj67GPIHImz6yHnFD3wXNDCAkkoII+G++L/A/9dT6JdzPxqf4z97sTz/I27XCSA6"
    "kEggmfLdRcAmNAyAh4jnIGBBx2GztzDrK4Qyg99GDnJvgin7eXRYw+//DK5evxtcPTo6fJ"
    "xl+oU6sy9OcfYn7PbCsYOtUdmcr+Z5hmg1jF/HzO8Nma7woB+k9UbARcE0hUuYWrF81E0Q"
    "z44aCOLZUaUg+KmsILgGayODaLzW8/5ywvW0YnQfXL8bPNl/fgSwC6boG7SRhWfQ0eRLoB"
    "bh12ghgoRCayH4CNp9MPdxwC4F7Rl2XzGJsO+CPxoYL4BFZjNINREDmyn8uUYwKIriDTsT"
    "4BkqF0eWMicSW5E+jf7QR0CNF+gaVg/PPpxeDwcfPvLLzyj9yxH8GgxP+Zl9cXSRO/oor5"
    "7ii4BfzobvAP8Jfru8OBXsJDS48cUdk3HD33r8mWAYkJFL5iNop3kSHY4OZcSMvnmYXa6D"
    "mLOUKxCzWmmMlFcvZR99JbedPuYspZGyzlJmbloXEafItka+vXP2BM6iDwIiLEq2mIYBar"
    "h0brvMucc8uU15bfzAGFq3c+jbo8yZlFmFKGW8KzGsThTl2/dXyIGCwcWpoGIW1/Iq27to"
    "J0fVXBXcJPukip3FU7P9Wf4IdOGNeCV+b34nxS5ms7rCmy8Ef9SZfl3wxxJjGsZ+BkAOl4"
    "4VJTM0JvYCzJh1/5IZ/1FQhlmerg1c9BX5isBWIZxi+Gc1l1weAfq9R8Pxn8gKlCfL3pO/"
    "1B8mMqRlZEjJuItnkKE0noF2K0vamrhFi9JwVN2HltAs/9juz3a4lFGowcezJBI1h5SHue"
    "2m3vcGv8REJPMpaRMXUcO1DooMZTjwBwr4S/YB8QF7bMCWQsSXmLk28RC1KLVgf0KhtQQ8"
    "H9lYPOpTi/g+W4aR3ecyeap8vz74b7i/t3/URQ4H+w3kcLBfKQd+KhcezJgKzVVTlq6Tet"
    "qURM7sKFCeyEZ8GUn4XGs1NUYT4pckj/59fXlRLpyEIm8UsLcH/wMOpvqsH6uwBjgrMoZA"
    "NOUffRj8mv8aXp9fnuRXeH6Bk7yKmgTIb8P2mMBw/Q5ct212tlXCIkXSaWnYkJ10gYI58W"
    "+BetxI/VgORu595k1bxD/W6tyHNCCzD/xHr8zDT53u17r5YuAoOdPE2RejpenqIOi7FEBu"
    "v/rMkCJzF7CZwi4GJj6ZAfQNzjwHFQ2pO1zGwDq21Hm/X1jH/QpgzR7CGNJWrI3Ga+0dCP"
    "3FXTLmj6HZGNk2YzHlrpnSF1w3aOKiSW3VxgBKKO5kAW3MMXDFAkx8G/kcvDGfYmvKDy3A"
    "HPmIL9SNIxibNpN8JG4+qjBSK9V/gU5r1+0CzeOFEohHVkJiH4x4D8qBHjI6/grsvZRh83"
    "be3P6zwxeHxwdHh/HCER+pWy+Kfpq4NLtha186R6hzrG+oHlWpMMZsnr/iqQsOZtU83mcw"
    "OF3Ul4m0a/P1ZULsak62wNyaIPuKViX2atJ7Z2Jg8tAszN4JzxCtsiWfTQs8w6m8ij6yuj"
    "ueoWyFvyOXokV0l9i0zsjQG+RgZmmUVv3E5/p1MSFbjsLN0R9zNJ4ScvuSfdfCFUjlDn6g"
    "ALk2t3kC4tgSrjElc3YtX6qEKaQcfFzET63yuo1wIAEMQvHKLvoWMOslQDOP/2/AIJrGk0"
    "LfKbJ/yIRXgTWUw3VeLVdigp7+Oqz3oGML9Pzy4udoeN6tzmU+44+jaJucuuFMcPyMPSJ0"
    "LVTMf8bUOjO/N4c44O7aownxcynQx33gMX3DzvaB0o/MmmTDJhA7yO5iv6y+fEiprBIxVS"
    "qkNMnmght761VLKwtS5BeCAl/rHeES8q0BOT9IZ5hdymNvh0ZV6q4mUlig1Nk3Vig0B9IA"
    "qAl6T3FA5PukJCRbvYrHBDpnr7vzd9MLuwnzPQjNFtssHQSdpzVrmM6STmzW1nHdAum6LM"
    "LddFULocQyoRQl8pb4CN+479Gi4ESVR8Q+Zi62XdKoComxwz6cxxGW4lRkf7CXR4H0OgfX"
    "rwdvTnvf7wd8dRphEXolMbbkZL8uyJbgGZoF2UT3EAg4bkMBpywy80Ke0yATdgLP2LMCiW"
    "WV/RYs9lcJ7uouFyoJo/2em9vikjJiZgBZOmilfk0AbRYBBJsmnGICneM42oCyBLdGKu3f"
    "ms1pQsPuBuz+iqygzJc8wS70F+WcTmhyLB4vApn/0IPJvXfQmfB4pIWpqMhwcBA4iOdAMH"
    "Tv7lueKCRVbOEyPp+cXQyuPpc7lyclyKuTz8PTQb611BZYo5v9CIw5qpM4dsMeVUCCMms0"
    "wRjU2KIpOEOTdK80EQNpSMoKAmVKpnC5AueBKbCmyLplxuUcB9OyHO/dLlZqkcZWCp3C/e"
    "dHBWs0NUKAcPkfTKpsVOqMwLOa7K++xqsSbguzKqHQ2Z6Kgsfiw9C8X178+TSN3scEOktA"
    "2yx8WFXksTwFH25BvYdQ+FzTCzXfZYYfN5jgx5Xz+7iQUI/WgALT6yPmaTqTGNE6XP5A8M"
    "9iRhr0s0E/L4tWtf0W0lTGQe889bchTrKbLkZNmKQiPN46QpKrxt+yD6JpiCStCcqjI+UT"
    "XsMQlMmItoxAndlo5pEAudaiYsOR3Ih+XTwKJ2NbbEAycEHoOQTacTBJ9AoRm4hQXisAby"
    "CvW8ZsBoW8PuArx/qyJdgmLlInH335knrQJ+xJv3x5XBK1WuutmhQrWA5kvsOS+NStZHRT"
    "e0oN37luC/vPnzewldioSmNJnKuPRk3Y8yDf89Vq25TnOTKtbdnLCbNco3aFYvrz/mxax6"
    "fu3azSDOh2P8YtdOm8rO9CdZgwodAZ5cv7R06wzzG+4nn7AFLl0/FlQFvIb7J2FESyBPKb"
    "oTSRLa0jW2Tuln10dTovJtFY1/UG9ldMib8ADrFuk2aVxEq1iZPLk3bBrhbF5mu11rlD5a"
    "jC6zJbPX2+3lLPj1xqpXOdyY0ogT+UvWheAm4V+2ReNLSXjl5xL7hPn87etMjdhiG2n3Ka"
    "9VjIvR8noStMECDuxP85/KnX8nsRgE8B5AzYfLwR4UiRW6Q8oz6DfmV2vrWOlB11pdJLqz"
    "PBoiXZ3DnqVGOXptuawgQmE+RGQoi8RMgnteylJeqGHMIbIIMJadqiadsXL02040fG/IG0"
    "P0t0Y+psrWb02LiRNAvbIbwl9oVCLPHYbhaQDV3C9ZwwMSFl8+NlrlD5B971gH8cNE47iG"
    "+goFrXfzvTp1Nr/6xGFz+EYn8aWhZCtn5V/AHxRnXR8WqvuUipsfesLciG3X6CbaSmdi4z"
    "wdyKCuZnyXKMn3C6nWL9m8tPJ+en4OPV6euz6zPVszM2IcRJfogdwDJDcXU6OM/HhRwnNV"
    "9bNU8tITV95Ls3SDWFQKYQaHfYLVpEMC7arVpiZ6l2YeXcDJ9niFJ4U8LqJT080oS7wO1N"
    "2ylb0+1p/f7SyrrRMN/F79YNJUu5NZGoB5kZ4QXvHDjTKQWWozWS1lvSalO5TpLO0hpJ6y"
    "xpH3kOtDpuM58hNWltrQV975AezfCjWiClDZp3l9C8KQGUZcAy4qnJgGXDc8sTYJcuinGF"
    "Kg3Fu3rPyxJVJZVMXejb9QUv1IhHB4qB9+hMKiosfielYxT/jUayy4g4kxQnZ4M+pvxczy"
    "TZBDuo7YZ2aZodjOStEGidmuX8Qx55kN2hBaezVAbS3oTT7I4BcgPJpha8ztPt4Mxefew0"
    "pf5bKfEs3S4F8TZdbIztMpVSyfh4/C7xfGWB0ykz8aclnnclOxMCw8+yQPSONrfRR/9uHc"
    "appzYg6bXjeC/et0Rh5MXfBv20AzFag34y6CeDfjLoJ82XWoN+MuinneWzQT8Z9NNO7HXn"
    "IEjRCH3zMFspO2TRy+gNZELnTLrZ+qv642IvaF+6zqIXb2y9DWJXH0ut1A3E8UF82wbi+G"
    "AkbSCOD0TS0JqiMswHIcz4citEHBPlN7hhVJtcmStAP7KWHtlgvODV5wj6DkY+7/HRj5q5"
    "UN5DV6Q8BZ5HRAVWsOPN5eV5RvInZ3m349OHk9OrR88eZ0N5RdN5d3tIq60IMq2kE4iV3t"
    "2k2d2Zpx16FdHV6xl0nGqsVJ74frOUeyUfjvJmpVCQa6suLlxg2I+SPa/4T/Zl+Qi4JAAW"
    "CdmLtWyMdLD/4iiWFP9RJ5vrD4Pz89bdjgob1eJSXISiffv+CiU9h8pBpG/kdRZb6HxUYU"
    "iz0afM/pHd+ZTZrnInGZXa3OgObEr2UdpFJuW71XRnVLY/zq7wap1o6yvGn3M8w0GvBGyd"
    "nOzXYa05j0cOH9cQa/2OzMEstKYAxrsSMOuLGaPMXqV9MOUtXqncEnYu+4eJ5sYhb8PGxr"
    "GD2ClpKrS6yzZBZk98hOo7INNw/CdzcNokQlIk+sJGZS9evi8at4gVNzv13D3ea5AXOd6r"
    "3jNnb2lnZCWlggzqfdMU2fYEGGVjN2ZYyhoDYLHZP0Zyzou236aV2yYLWa453Km8iiU6Va"
    "tWqRzUeGPEsU/mlHmvwiSn+MblXpLsAy81YtkGiM2ImujDVPKlWiUyHdwKSR+N11sZci/V"
    "IuQWIy07kldrR5OE2VklmPVCuuZVV55RNWLeqd3kGohzN4vzasqRSzc+aV2HPPCw2qpmu0"
    "TQtAY5mXg6FR8P4Th0oF9fg1wcVGvHBXJ4HjPbuCevos/VEKs+5PzPCVuKQ6ZHXoG5j4OA"
    "+wCTgNl0ajMIqJIclV14V3qDJqZipoTZVBhrWWFsYMkGlrw77I40WJHT1XUOaZo7FTjoxu"
    "xNVziYfdo3Ck72fDKGY+zgoDSPWT3hC4Rm1t9h1m83YGbZNkgRcGbik5mMf/En1woYY4Jb"
    "nVTSNkQ9NInwDzlHJZ+LTmJ0rl/rG6pRjYP8EYHYLwVYYm9n6bi9Yh6bhZLa6j47r8zEqp"
    "5Vd79c+xZWxt3T0t3bvo4EHVat7WpGwLg+LttDsfKLSAi2ANWpdElfWhDP2oECV1Z35iP2"
    "rrSblZCnNXaCdnaCKT16aFI2pUcPRdIPumRY7eEZ0HjvYYdQvqfqKrb93raZYKrxV2wV7W"
    "5JUaaWKDbgdC8mmk9JmxSRGq61K3bBy+qiTVsjtDZ7cIAcsdk2TyzfK2gul75oFUhPKExj"
    "rO4B9OramUollCbRWQ1dCE+dz//oie/J/41uP2rf8rOEVONWQjzswJHx0VOL0gVZrCi/Vi"
    "2Ru4mgxtxY7QAXyNNpLCJtwAIzxO5vtdL4KRKj8rur/MoiwJpulAnJFnBeQu4sn1D65Ct0"
    "sC0KGmMEHZgwKwhBaxrpqbt7c2uR0xTBUvfAhf6iopBDUeTT2lEveU2kI/qC05e8bvCp6/"
    "0NJmWFhu2T2oqtsQyYCE7OLgZXn8txHiclYjj5PDwdlIihw8qdIzNLwvIlgRsD5UtvNYop"
    "TaMxj5lKWnCHC1NAkf+VZ3q5KwZ5cImrIwg8pl/JKooH14F2Mg1HTcNRrQyjtcxyifptG5"
    "NLU5nynhWV91QA41sX+LwWYJsP0dW2SxJNq3zSM1CnOp9fiH+L/I8yd9IrgW9lB/TrMFxz"
    "MbQxgitK2IjIZwBvEQV/kjFNkJRMvpyRkGdzgANpwKxRl4RsMvFANUXOpAzJtarLLkd0tU"
    "Jwffp09qYFfisMsf2U03T5JJbDuHo/TtgLC5dL3In/c/hTb/OLhFgPDmTSLG3li1evR2q1"
    "3fZvG7b8670jYj7a8TTGzAzl1qeHSHM3eAPb1CXff+PQUEyxDXB6GaBImodAeivDEppGIj"
    "RC9Rjw1hrBWwi5XWSckBkBaydgTVD8A+Rja1pmBKoztdYfTMYsM/6qBbtio+uhYObvmAat"
    "trE6JNp2uyJ3LbYU/6hacFgN30HuPttr0gePjaquHtjbq9hQuY2pmiLZBltVqzTmvS5m3/"
    "8PfTREPw=="
)
