from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "changes" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "changed_at" TIMESTAMPTZ NOT NULL,
    "key_id" BIGINT,
    "who" VARCHAR(64) NOT NULL,
    "action" VARCHAR(32) NOT NULL,
    "subject_id" BIGINT NOT NULL,
    "before" JSONB,
    "after" JSONB
);
CREATE INDEX IF NOT EXISTS "idx_changes_subject_7e84d0" ON "changes" ("subject_id", "action");
COMMENT ON COLUMN "changes"."key_id" IS 'Of the API key that was used.';
COMMENT ON COLUMN "changes"."who" IS 'The key''s name, or who else it was.';
COMMENT ON COLUMN "changes"."action" IS 'prediction.corrected, key.revoked, …';
COMMENT ON COLUMN "changes"."subject_id" IS 'Id of the prediction, or of the key.';
COMMENT ON TABLE "changes" IS 'A change that somebody made: it is kept, and never changed itself.';
        CREATE TABLE IF NOT EXISTS "rate_limits" (
    "subject" VARCHAR(80) NOT NULL PRIMARY KEY,
    "free_at" TIMESTAMPTZ NOT NULL
);
CREATE INDEX IF NOT EXISTS "idx_rate_limits_free_at_98f22c" ON "rate_limits" ("free_at");
COMMENT ON COLUMN "rate_limits"."subject" IS 'Of whom, and of what.';
COMMENT ON COLUMN "rate_limits"."free_at" IS 'When all of it can be used again.';
COMMENT ON TABLE "rate_limits" IS 'How much a key, or an address, has used of what it may use in a while.';
        ALTER TABLE "predictions" ADD "key_id" BIGINT;
        COMMENT ON COLUMN predictions."key_id" IS 'Of the API key that uploaded it.';
        CREATE INDEX IF NOT EXISTS "idx_predictions_key_id_634df6" ON "predictions" ("key_id", "size_bytes");"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP INDEX IF EXISTS "idx_predictions_key_id_634df6";
        ALTER TABLE "predictions" DROP COLUMN "key_id";
        DROP TABLE IF EXISTS "rate_limits";
        DROP TABLE IF EXISTS "changes";"""


MODELS_STATE = (
    "eJztXW1z2zYS/isYfakzo3oc+SW+5OZm5MRp1DhWxlYuneY6CkRCEmqSYEkwiq6X/34LkB"
    "TfaZKWZEjml8QCsCC5Cyx2Fw8Wf3dMphPDPezb9D1Zdl6ivzsWNgn8karpog627ahcFHA8"
    "MWRTbNPxHVnKQjxxuYM1DuVTbLgEinTiag61OWWWaP15zpCJl8hzCeJzglzifKMaeYXYVP"
    "6GnhDlLjGmiFnGEmE0x+4cURdqbH4oHqIzDZ5Crdma+vMs+pdHxpzNCFA40OuXP6CYWjr5"
    "Ttzwp303nlJi6Ak2UV10IMvHfGnLsgs6G1j8rWwr3nYy1pjhmVbU3l7yObNWBNTionRGLO"
    "JgTsQTuOMJ3lmeYQRsDtnpv2zUxH/LGI1OptgzhAQEtf8CUVlnPL4ejsa3l6PxuJORTkgR"
    "Y3BQpDFLSBZe1ZUMmIlX+Pkfvd7x8Yve0fHZ+enJixen50fn0Fa+b7bqxQ//ZSJu+V1Jng"
    "1+GVyPxAsxGD7+uBIFPyQN5tinksKIuC//z/D/9Rw7+dwP26f4Dx+W5n/I7TIBhAWRBKIh"
    "31wEMKAxRzZhtkGQhg0DRm9m1BcIxcTfxwaxZnwOP89OSvj97/7N63f9m4Ozk2dJpl8HNT"
    "1ZJdgfsdv2JgbVxnljvpjnCaL1MH4TI78zAl1hY4fH9QYXogBNYTFQK5pDmgni+VkFQTw/"
    "KxSEqEoKQmiwOjII2ys97odToacDRnfR7bv+z73TM0QtNCffsU40amJDkZngakz0UUMEEY"
    "XSQnAI1rto4VAOXWHdpNYrkAjMC/FqaLJEGjNN7CoiBhgp4r3GmGdF8QZqODVJvjiSlCmR"
    "6AHpYfiHOgKqvECXsHo0+HB5O+p/+Ci6N133L0Pyqz+6FDU9WbpMlR6k1dOqE/R5MHqHxE"
    "/0+/D6UrKTuXzmyCdG7Ua/d8Q7YY+zscUWY6zHeRIWh0UJMZPvNoXuGog5SbkGMQcrTSvl"
    "9UvZId/YXaPJnKRspayylMFNayLiGNnOyLdzBW9gLLuIM2lRwmLqcVJx6dx1mQuPeXoX89"
    "pEwQRrdwvs6ONETcysIq4LvMsxrC4Cyrfvb4iBJYOzQyGIWdz6vezuoh2VBmNVcpP1WBE7"
    "s1Vmz0yXYAvP5CeJZ4snBewCm9WS3nwm+BPUdMuCP5psUzH200d+c9+xcplJJkxfIhOs+5"
    "dg/IdBGbA8LR1Z5BtxAgI9COFkwz/r6fL+CNCXjutN/iQaDzxZ+E7xUX+0kSElI0OBjJt4"
    "BgnK1jNQbmWJWxN3ZJkbjiqbaBHN/ZPt8WyHoR+F6n8cRJGoBXZFmFuv6n1vcSZGIlnMWZ"
    "24SNBc6aDIyA8H/uQi8ZFdxBwEr41gKSRiiVkoEw8JFqUa7I8olJaA7RCdylc91JjjwDJM"
    "9K6QyWHg+3XRf7zeUe+siRyOexXkcNwrlIOoSoUHE6ZCddWUpGuknrYlkYEeBsoj2ciZEY"
    "XPlVZTEzJlTs7m0a+3w+t84UQUaaMAvh79DxnUVWf9WIc1IFiRMATCIX/wof9beja8vhpe"
    "pFd40cFFWkVNOXHqsH1F0HK9HtdreOCbdC/fEIOC15WLLljVdctcTN1vRat7mQsymTN29x"
    "KWaeIQhGM6ChZxAp4guIWcGbrvFs7ZAvpyfCNrDkaWBm5knqu5tn4r+Zscc09+skW+c/BH"
    "ODFt8X/rdCrqdHqOkWX/CIRXENP0m6tseK3Fqbz8bVSu0FY+5dXw+peweVrLpSys1eTIWr"
    "qXlmdKjg/gFbGlkaydtaJWmfmdBaYcmI4OwPBImVrPusgGfQO1XRToR6IL82uKqUH0Jmbw"
    "+mEKgcrKEVOhQoqTbM/+PdqsWuo9P3lxcn58drLSRquSMiWUNVrTC0GGr+WhrRzyndlMeZ"
    "LhLejKhq8j4yJ1VziPcih3INplYJejYIDW8x7XNsWI47Ac/6R4FV8RNFpKlOfvthf2FtLz"
    "JDTbymZpIOg0bbuGqSzpyGatHQ7NkG7KItxPVzUTAMoTSlYib5lD6Mx6T5YZJyofb/Ex0d"
    "luSaMIcQHFDl6sIizZoQh/wMcT7nud/dvX/TeXnR+PE2Ib6LCgM04sbVlwjCfVolsWbqNR"
    "2xrHevoW8myDYd2PdmGkGZRYXB7NcUVkDM+AvWhBYQR5Ihr2TXi2lCOdWSSoPPj6NfaiP8"
    "Obfv36LCcOt9FHVQnNaQaGdUUvj8Xd+YyuuhMXNFf3hER1DZcIK/ROTyvEFaBVYWBB1pVH"
    "3qbwPsSxnWBFqMrzFJnSwSAw4RcrEIAc/mLXU+lTEo++9Ctm1j3OTie23EXelluxSxtRqO"
    "zTClTGlDrCo5Xv20UwM3w4hlgGlHVwo7Wjpt+TpGwdXOXcHkV2XKXFbgQo6TxjMF5fbgqm"
    "W95rBopJKVbpCZbYKAGwfYmE2eWwRdaSu7f1mk9mf/o0eFNjI9TzqH4oaDZjgnX+OfUsuc"
    "Yh+STxz8m/OjXVoDwuLA9OchjpMyIAOGADzIgrNqNN7NwRXdrCD9eHPhDKn1Xx+SJZVG6g"
    "gYJutGURp9uZOA/IhFihEEI3BItBjRYCNyDDsAYTuDU0ZU57ImSb2vEjML/vGzg5ujFWW6"
    "oZbWg39u2OynkvpK8q+0IuphI/h4NhgnxwGfxmQs9JGwa7MD5epvZ9fxIgEjE5XB9oB33K"
    "OZBRrZt/XJs1Q2kHoEQXPwXshOtpGiG6eqAIzuxxWfi12C3LUirsnimLHILHT6lOgqGdCn"
    "0bDBcwP0mWYvxU0O0V698MP11cXaKPN5evB7eDAJG6MiFkpSiCAuqHwG8u+1fpwINhxMZr"
    "jsIpAf1mSVv4b3PQtbQC6gRGVwQq6/iGAen1xzklt8bfwBSsefomQ9iyuwK7JeIGuKjXyv"
    "2VpNqHlXM7fDaJ6+JZDqvvgUTFCfeB29u2U3YGPLt5f2lt4D7wXZxm4LIk5c5Eop5M6D1p"
    "4Zu2QGY02mNJ0baSVlvSwVngRpJO0raSVlnSDrENrDXMDpYgbfdNlRb0o2NGFAMotnBRla"
    "SxF3DRmADydsAS4inZAUuG5+7fABtaZAVcC7ahxCHpRd5GVU7K6yb09Y5Zg6Sg9ksU/AoL"
    "soH3sCYWFZa/o9xCLv0vGU+WHB4ja9w57p3K9CTJoE97llvNTbIpNUjd9PJxmj2M5K0RyR"
    "sb5WIij23MayU0T1K1mOkqnIYncmJxn001eJ2m28ORvYEE8ZH6r6XEk3T7FMTbdho6quep"
    "lELGr9rvE8/XFjidg4k/z/G8C9kZEbT8zAtEr6zBqlo4omj1bxX9u3MYp06Qz6VTj+OdVR"
    "oY22GayHwt/m7RT3sQo23RTy36qUU/tegnxZfaFv3Uop/2ls8t+qlFP+1F6kCDYJeMm9+k"
    "lkffQiZU3klvM6kVTy5xzeXQMpbBCNwRsQeTpVTqLcTxScztFuL4ZCTdQhyfiKSxNid5mA"
    "/GwPiyCkS8IkoJdwJU21yZC0A//ll6/+pobCGCHYMSR+T46IY3xbjw/UhueUo8j4wKPDwl"
    "wsVweJWQ/MUg7XZ8+nBxeXPw/FkylJc1nZ/WJWMRxKpmCubHgCgWA+gyqWZp7lZ8jWtF45"
    "eV7Ji9WwRbTCJvUyktmnMqmURjX3i1SUjmDfDnipqUd3IQmVFltwyQKXg8NkS7ioDMd2yB"
    "TE+bIyxmv7y8C1Q0rFiwqLldeWGNuG1Q6OmFn2RIptj0RK4maAeF1MjJPLK+bqvAN6cOIe"
    "V5OINL1epES2Mk6mLL/IyQzPTvGgq42Sjz4/lRheDp+VFh8FRU3YOmDKRU04CNke1OFMLP"
    "/oQNwwciIw1G/4T4Y14mn23zPW0T7R7eBp6jWGMXhRer1fid5FXuHps4bOGS4NIvl84sYU"
    "r52Yh9jZh3sVg1oir6MBahLVaJoINrwW3D9morQ2HKaozdUaJkXtySy6rbSO2+KsHEjmLj"
    "zZe1b7u0Yt6rO8kVOyWnxJnF3PT7tQ8r9m0aXJiwWyKoelAxGngqnVAc4YlnYKf8oGK2Ua"
    "kdx/3maWBd5cSdAX3qoGGQrFj8OYWl2AM98gotHMq58AHE1cVhSnIcREILU3Wu9QFVTMXE"
    "Ocf2GKKSxxBb7GKLXdwfdocaLMvpYjB0nOZBKGjVmL1tGDTwIU+VFAMZVwR7Mba3jWC0HT"
    "bBE2pQnrvzVDzgM4TtqH/AqN/tXfV7gl6r3fWpw0w//iXeXKnd8za41Ugl7ULUQ5EI/2fm"
    "3BHwA+Xxx06Op5hs0C3zEheyaeVgf3DmMrgZAd8RF/3JJm40H2GcCZfFv5nKv37ZsphnaR"
    "JgIS68ydsOWFe37fU525irD7gWp26GmV3ILtN5x+R41FfDmOpdcc8NsgmzcxADVXyRjWRE"
    "ieZ/VdssotgFoyy8GyrcgpZXvKznxqGN2GoKYddbU2FzGyQuIVYTGUdkrYCVE7AitmCfOF"
    "Sb5xmBQU2p9YejNvcZf8WCXbPR9VQC7Q886VhsYzWI7u53XHcjtpSYVDU4HDTfQ+4+P6qC"
    "poRWxVlzjo4KcvfVMVVjJLtgqyoVQHzUxezH/wHHb/5e"
)
