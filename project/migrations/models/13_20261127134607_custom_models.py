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
COMMENT ON TABLE "embeddings" IS 'What a base model computed of a picture before its scores.';
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
COMMENT ON COLUMN "examples"."sha256" IS 'Of the picture, SHA-256 in hexadecimal.';
COMMENT ON COLUMN "examples"."use" IS 'learn or check';
COMMENT ON COLUMN "examples"."key_id" IS 'API key that added it.';
COMMENT ON COLUMN "examples"."who" IS 'Name of that key, or who else it was.';
COMMENT ON TABLE "examples" IS 'A picture that a custom model learns from, or is checked with.';
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
    "eJztXetz2zYS/1cw+tJ0Rs04TuL4kk5n5MRtfHXsjK1cX9dRIRKyWFMES5BRdHf932/x4P"
    "thkpZkSMaXxCKxfOyCi338dvHfwYLaxGVPR77zI1kNXqP/Djy8IPBH4cwQDbDvp8f5gRBP"
    "XTEU+87klqzEQTxlYYCtEI7PsMsIHLIJswLHDx3q8dE/zSla4BWKGEHhnCBGgs+ORd4gOh"
    "O/4UrICRlxZ4h67gphNMdsjhwGZ/zwKb+JTS24i+PdrOl6kef8FZFJSG8IUARw1d9+h8OO"
    "Z5MvhMU//dvJzCGunWOTY/MLiOOTcOWLYyfOzZkXfi/G8qedTizqRgsvHe+vwjn1EgLHC/"
    "nRG+KRAIeE3yEMIs47L3JdxeaYnfJh0yHyKTM0NpnhyOUS4NTyAdJjg8nk4nI8uT4dTyaD"
    "knRiigyD1SGLelyy8KhMMOCGP8I3/zg8fP781eHB86Pjly9evXp5fHAMY8Xzlk+9+ls+TM"
    "oteSnBs7Mfzi7G/IEoTB85r/iBvwUNDrGkEsJIuS/+L/H/7RwH1dyPxxf4Dy9W5H/M7SYB"
    "xAdSCaRTvr8IYELjEPmE+i5BFnZdmL2lWV8jlAX+MnGJdxPO4efRiwZ+/2t09fb96OrJ0Y"
    "uv80y/UGcOxSnO/pTdfjR1HWtSNefreZ4jWg/jNzHzB2PQFT4OwqzeCLkoQFN4FNSKFZB+"
    "gnh21EIQz45qBcFP5QXBNVgXGcTjtZ73lzOupxWjh+j6/eibw5dHyPHQnHzBNrGcBXY1+R"
    "KYRfk1OoggpdBaCAHB9hAtAyeES2F74XhvQCLwXfBHQ9MVsuhigZkmYoCZwp9rgsOyKN7B"
    "mdBZkGpx5CkLIrEV6dP4D30E1HqBbmD1+OzD6fV49OEjv/yCsb9cwa/R+JSfORRHV4WjT4"
    "rqKbkI+uls/B7xn+jXy4tTwU7KwptA3DEdN/51wJ8JRyGdeHQ5wXaWJ/Hh+FBOzOSL78Dl"
    "eog5T7kGMauVxkh5/VIOyGd62+tjzlMaKessZXDT+og4Q7Yz8h2cwxO4qyEKqbAoYTGNQt"
    "Jy6dx1mXOPeXab8dr4gSm2bpc4sCe5MxmzijAGvKswrE4U5fc/XhEXCwaXp4KKWVzLq+zu"
    "op0eVXNVcJMe0jp2lk8tDhfFI9jDN+KV+L35nRS7wGb1hDdfCv6oM8Om4I8lxrSM/YyQHC"
    "4dK0YXZErtFVqAdf8ajP84KAOWp2cjj3wmgSKwVQinHP5ZzyXvjgD9NmDR9E9ihcqThffk"
    "L/W7iQxpGRlSMu7jGeQojWeg3cqStSZuyaoyHNX0oaU0d39sD2c7XMoo1OjjWRqJWmLGw9"
    "x2W+97i19iKpLlnHaJi6jhWgdFxjIc+BVD/CWHiAYIHhvBUkj4ErPUJh6iFqUO7E8ptJaA"
    "HxDbEY/61KJBAMswsYdcJk+V7zdE/44ODw6P+sjh+WELOTw/rJUDP1UID+ZMhfaqKU/XSz"
    "1tSyJndhwoT2Ujvow0fK61mpqSGQ0qkkf/vL68qBZOSlE0CuDt0f+Q6zB91o91WAOcFTlD"
    "IJ7yTz6Mfi5+DW/PL0+KKzy/wElRRc1CEnRhe0JguH4Prts2nO2UsMiQ9FoatmQnXZBwSY"
    "NbpB43Vj+W6xDvIfOmHeIfG3XuIxbSxQf+Y1Dl4WdODxvdfDFwkp5p4+yL0dJ0dQkOPIYw"
    "t18DMKTo0kMwU+BiaBbQBSJf8MJ3SdmQusdlDKxjR533h4V1PKwANuwhTDHrxNp4vNbegd"
    "Bf3CUDf4wspsS2gcWMu2ZKX3DdoImLJrVVFwMopbiXBbQ1x8ATCzANbBJw8MZy7lhzfmiF"
    "liQgfKFuHcHYtpkUEHHzSY2RWqv+S3Rau24XZJkslEg8shISfDDiPRgHesjo+Bt08FqGzb"
    "t5c4fPXrx6cfz86EWycCRHmtaLsp8mLg037OxLFwh1jvWN1aMqFQbM5vkrnrrgYFbN430G"
    "g9NHfZlIuzZfXy7EruZkB8ytCbKvaVWCV5PeO4gB5KFZmL0XniFeZSs+mw54hlN5FX1kdX"
    "88Q9UKf08uxYvoPrFpk5Ghd8R1wNKorPpJzg2bYkK2HOW0R38syXRO6e1r+K6FK5DJHXzF"
    "EPFsbvOE1LUlXGNOl3CtQKqEOWYcfFzGT63zuq1wICEOI/HKHvkSgvUSkoXP/zdgEE3jSV"
    "Hgltk/BuHVYA3lcJ1Xy7WYoKc/j5s96MQCPb+8+CEeXnSrC5nP5OMo2yanXrQQHD+DR8Se"
    "Rcr5z4RaZ+YPltgJubv2ZEaDQgr06yHyQd/A2SFS+hGsSRg2w45L7D72y/rLh5TKqhBTrU"
    "LKkmwvuHGwWbW0tiBFcSEo8bXZEa4g3xmQ86N0huFSPrwdmdSpu4ZIYYlSZ99YodBczEKk"
    "JugDxQFJENCKkGz9Kp4Q6Jy97s/fbS/sJsz3KDRbYrP0EHSR1qxhOks6tVk7x3VLpJuyCP"
    "fTVS2FEquEUpbI9zQgzo33I1mVnKjqiNjH3MV2Sxp1ITE4HOBlEmEpT0X4A16ehNLrHF2/"
    "Hb07Hfz9MOCr0xiLMKiIsaUnh01BthTP0C7IJrqHYMRxGwo4ZdGFH/GcBp3xyBhwKwoIkm"
    "hW2XHBgr8qkFf3u1RFKO23wvwWF5VRMwPK0kEzDRuCaIsYJNg26ZQQ6BzL0QaYJbg1Uan/"
    "zmzOEhp2t2D3Z2KFVf7kiePhYFXN6ZSmwOLpKpQ5ED2YPHiP3RmPSVoOE1UZrhOGLuF5EA"
    "d79/cvTxSaKrFygc8nZxejq1+qHcyTCvTVyS/j01GxvdQOWKTb/QiMSaqTOPbDJlVggiqL"
    "NMUZNNijGUhDm5RvbCSG0piUdQTKnMygcwXaw2HImhPrFgzMpRPOqzK9971cpVWaWCpsjg"
    "9fHhmLVB/F1GSRKml1sJVSCp2NpDgqrOa65q3wBDy9S2A+IdBZBtom2KO6+o27s+vRDpRy"
    "CB3OlbfQ3H1m+HGLCX5cO7+PS7lyXq7QIxiepTM5D60j4Y8E2ixmpAE2G2DzXUGort9Cls"
    "r43b2n/i6EP/bTyWiIftREvTsHPgqF9jv2QbSNfGQ1QXXQo3rCaxhZMsnOjoGlM5ssfBoS"
    "z1rV7CVSGDFsCjM56dgOe4uMPBT5LsV2Eh8SbUDE/iCMlwHgG8xLkh2YQRGH/n/mMF5Ygm"
    "3qEXXyyR9/ZB70G3jSP/74uiIUtdFbtalDsFwMvoPdXHhwKxnd1p5Sw/eukcLhy5ctbCUY"
    "VWssiXPN8agZPA8J/ECttm15XiDT2pa9nIHlGnciFNOft17TOj714GaVZhi2hzFusceWVS"
    "0V6sOEKYXOAF7eGnLmBBy+K553iDBTPh1fBrRF86ZrR0kkd6B5c5QmsqV1ZIsuvaqPrknn"
    "JSQa67rByP7sMBqskEut27QPJbUyHeDk8qRdsKtDHflGrXXuULmqprrKVs+eb7bUiyPvtN"
    "K5zuRGlAAWyjYzrxG3igO6LBvad45ec5u3T5/O3nXI3kaRYz/lNJuxkAffziJPmCBI3In/"
    "8+K7QcfvRSA5BT4zhPl4I8KRYKLdEMaT5Asc1KbcO+tI2SxXKr2sOhMsuiOfuyS9yueydD"
    "tTcwAyIV4shNhLxHxSyzZZoiTIpby3MZrRtt2Xdn3x0kQ7fgTmj6T9WaEbM2cbNaMP4ybS"
    "LOwG3pZwFoYdCbRW0yTGWWOPcj0nTEzMYH68LtQgf8UbGvCPgyVpB/ENlFTr5m9nWnBq7Z"
    "816OLHUMfPIssixNavQD+k/qQpOl7vNZcpNfaetQXZwO1njk3U1C5kJsCtqGF+nqzA+Bmn"
    "2yvWv7v8dHJ+ij5enb49uz5T7TgTE0Kc5IfggCMzFFeno/NiXMh1M/O1U1/UClLTIr5/71"
    "NT32Pqe/aH3aL7A3DR7tTtOk+1Dyvndvi8IIzhmwpW39GeI0u4D9zetp2yM42cNu8vra3R"
    "DPguQb9GJ3nKnYlEPcrMCK9k58CZXimwAq2RtN6SVvvF9ZJ0ntZIWmdJB8R3sdVzB/kcqU"
    "lray3oB4f0aIYf1QIpbdC8+4TmzQigKgOWE09DBiwfnrs7AXbpkQRXqNJQvGH3sipRVVHJ"
    "1Ie+W8tvkBSczZSMxwfKgff4TCYqLH6npWPM+Q+ZyOYh4kxanpwP+pi+4nomyWaOS7ruVZ"
    "el2cNI3hqB1plZzj/kiY/hDh04nacykPY2nIY7hsQLJZs68LpIt4cze/2x04z676TE83T7"
    "FMTbdrGxY1eplFrGJ+P3iedrC5zOwcSfV3jetexMCQw/qwLRe9reRh/9u3MYp4HaW2TQje"
    "ODZEsShZEXfxv00x7EaA36yaCfDPrJoJ80X2oN+smgn/aWzwb9ZNBPe7GNnUswIxPyxXdg"
    "peyRRa+iN5AJnTPpZlev+o8LXtC+9NzVINmzehfErj6WRqkbiOOj+LYNxPHRSNpAHB+JpL"
    "E1J1WYD0rB+PJqRJwQFfetAaptrsw1oB9ZS09sNF3x6nOCA9chAe/xMYybuTDeQ1ekPAWe"
    "R0QF1rCRzeXleU7yJ2dFt+PTh5PTqyfPvs6H8sqm8/72kFabEeRaSacQK727ScPdwdOO/J"
    "ro6vUCu249VqpI/LBZyoOKD0d5s1IoxLNVFxcuMCeIkz1v+E/4sgKCPBoii0bwYh0bIz0/"
    "fHWUSIr/aJLN9YfR+XnnbkelPWidSlyEov3+xyuS9hyqBpG+k9dZ7aDzUYchzUefcltD9u"
    "dTbifKvWRUZs+ie7Ap3R5pH5lU7FbTn1H5/jj7wqtNoq2vgD/nzsIJBxVg6/TksAlrzXk8"
    "cfm4lljr93SJFpE1RzjZlQCsLzBGwV5lQzTnLV6Z3Ot1KfuHiebGEW/DBuPgoONWNBVa32"
    "XbILNnASHNHZBZNP0THJwuiZAMib6wUdmLl291xi1ixc1ePXePD1rkRY4P6vfMObizM7KS"
    "UkkGzb5phmx3AoyysRsYlrLGAFkw+6dEznnR9tu0cttmIcs1hztVV7HEpxrVKpODWu93OA"
    "3okoH3Kkxy5tx43EuSfeClRqza1bAdURt9mEm+1KtE0MGdkPTxeL2VIfdSLUpvHaJlR/J6"
    "7WiSMHurBPNeSN+86tozqkbMe7WbXAtx7mdxXkM5cuXGJ53rkEe+o7aq2S0RtK1BTieeTs"
    "XHYzyNXBw01yCXBzXacaEcXsTMtu7Jq+gLNcSqDzn/cwZLcQR65A1aBk4Ych9gFoJNpzaD"
    "wCrJUduFd603aGMq5kqYTYWxlhXGBpZsYMn7w+5Yg5U5XV/nkKW5V4GDbszedoWD2ad9q+"
    "BkP6BTPHVcJ6zMY9ZP+BKhmfX3mPW7DZi5axukGDgzC+hCxr/4k2sFjDHBrV4qaReiHppE"
    "+Meco5LPZScxPjds9A3VqNZB/phA7JeCLLG3s3Tc3oDHZpG0tnoI55WZWNez6v6X697Cyr"
    "h7Wrp7u9eRoMeqtVvNCIDr06o9FGu/iJRgB1CdSpcMpQXxrBsocG11ZwGBd2X9rIQirbET"
    "tLMTTOnRY5OyKT16LJJ+1CXDag/PkCV7D7uU8T1V17Ht967NBFONv2araH9LinK1RIkBp3"
    "sx0XJOu6SI1HCtXbELXlYXb9oao7XhwRFxxWbbPLH8oKC5QvqiUyA9pTCNsfoH0OtrZ2qV"
    "UJZEZzV0ITx1Pv/jJ34g/ze+/aR7y88KUo1bCfGwA0fGx08tShdksaL8WrVE7qaCmnJjtQ"
    "dcoEinsYi0AQssCNzf6qTxMyRG5fdX+bVFgA3dKFOSHeC8hNxZAWXsm8/YdWxR0Jgg6NAM"
    "rCCCrXmsp+7vzW1ETnOCK90DDwermkIORVFMa8e95DWRjugLzl7zusGnnv8fNKsqNOye1F"
    "ZsTWQAIjg5uxhd/VKN8zipEMPJL+PTUYUYeqzcBTKzJNy9JHBjoHrprUcxZWk05jGopBV3"
    "uByGGAk+80wvd8UwDy5xdYSRD/qVrqN4cBNoJ9Nw1DQc1cow2sgsl6jfrjG5LJUp71lTeU"
    "8NML5zgc9bAbb5EF9ttyTRtsonOwN1qvP5iQa3JPgocyeDCvhWfsCwCcO1FENbI7jihI2I"
    "fIb4ljD0J52yFEkJ8uWMxDybg1zMQrBGPRrBZOKBakbcWRWSa12XvRvR1QnB9enT2bsO+K"
    "0ocuynnKbPJ3E3jGvw7QxeWLhc4k78nxffDba/SIj14LlMmmWtfPHqzUitrtv+7cKWf4P3"
    "VMxHO5nGDpih3Pr0CW3vBm9hm7r0+28dGkoodgFOLwMUafMQzG5lWELTSIRGqB4D3togeI"
    "sQr4+MUzIjYO0ErAmKf0QCx5pXGYHqTKP1h9Mxdxl/9YJds9H1WDDz90yD1ttYPRJt+12R"
    "uxFbin9UHTishu8hd58dtOmDB6PqqwcODmo2VO5iqmZIdsFW1SqN+aCL2d//B+rjOxM="
)
