from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "deliveries" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "url" TEXT NOT NULL,
    "status" VARCHAR(16) NOT NULL,
    "attempts" INT NOT NULL,
    "next_attempt_at" TIMESTAMPTZ,
    "response_status" INT,
    "error" TEXT,
    "created_at" TIMESTAMPTZ NOT NULL,
    "delivered_at" TIMESTAMPTZ,
    "prediction_id" BIGINT NOT NULL REFERENCES "predictions" ("id") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "idx_deliveries_predict_791d98" ON "deliveries" ("prediction_id");
CREATE INDEX IF NOT EXISTS "idx_deliveries_status_5e7a9d" ON "deliveries" ("status", "next_attempt_at");
COMMENT ON COLUMN "deliveries"."status" IS 'waiting (for the prediction), pending, delivered or failed';
COMMENT ON COLUMN "deliveries"."response_status" IS 'Of the last attempt.';
COMMENT ON COLUMN "deliveries"."error" IS 'Of the last attempt.';
COMMENT ON TABLE "deliveries" IS 'A webhook: where a prediction''s end is told, and how far that has come.';
        -- Whoever ends a prediction: its webhooks are due with it.
        CREATE FUNCTION "make_deliveries_due"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE deliveries SET status = 'pending', next_attempt_at = now()
    FROM changed
    WHERE deliveries.prediction_id = changed.id AND deliveries.status = 'waiting'
        AND changed.status IN ('succeeded', 'failed');
    RETURN NULL;
END
$$;
        CREATE TRIGGER "predictions_finished" AFTER UPDATE ON "predictions"
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION "make_deliveries_due"();"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP TRIGGER "predictions_finished" ON "predictions";
        DROP FUNCTION "make_deliveries_due"();
        DROP TABLE IF EXISTS "deliveries";"""


MODELS_STATE = (
    "eJztXW1z4rYW/isaf2kyw+4k5G3v3k5nSMJ2uc2GnYTtdtrpeIUtg4qRXFtewu3Nf79Hss"
    "H4NUCAGMdfEpDOseXnSEfnzeIfbcxNYntvr4lNvxN3qr1H/2gMjwl8SPU1kIYdJ+qRDQL3"
    "bUVsBlSUqGbc94SLDQE9FrY90pAEnuFSR1DOJH0LTUh/yPnoPZoMiUsQRo5LTGpIgh88RJ"
    "iJqIcEt80GwvBlyCdwLReJIRZoiD1k8DF5K29mcgPuRtlgw9f1Gf3bJ7rgAyLgUnD1P/6E"
    "ZspM8gCPCV//0DyBha8emZEHoWMhyNiR/7U/Ja0z0i1KbDOGKzUlvWrXxdRRbZd00GHig6"
    "KVj9TXDW77YxbRO1Mx5GzOQJmQrQPCiIsFkXcQri+BZr5th1KZYR88SUQSPMICj0ks7NtS"
    "XJI7GEDUpun6bben37d7uq6lRDnjWJBC2GRwJqcBDNVTAAzkEN78q9k8ObloHp2cvzs7vb"
    "g4e3f0DmjVeNNdF4/BYCK0gkspzDo/d257ckAc5lowDWXDo+LBAgdcSlIR+r5rp+HvgfCy"
    "wQ/JE+jDYyXRn2FdBP+sIcI/Wh07EEABlr32bwrJsef9bcuG219bd1cfW3cHn1q/Haqead"
    "hz0739eUYeAX97ddO9VNBHUEeLI4721RC7beaPFeIdGCJmBkkhH3GXGXxtgqkA0NGBxaUS"
    "IQvq5rCBHNA30NtAoX4kJgIyC1ObmEndlbNqxvhBtwkbiCF8PT4vEOJMZMfnhwnhhD1N1R"
    "UXUqiyMsSUq5AWWZ5WS5uSzdF21VLz+PTi9N3J+elcG81bipTQTOFEgCY3ghSu1wCMoGOS"
    "DW4GewJjM+R/O/uwBOKhnt8HTdT51L7vtT59jqmj61avLXuaMVU0az1ITvj5RdDXTu8jkl"
    "/R793btkKTe2LgqjtGdL3fNTkm7AuuMz7RsbmIyax51hSTN1zKgacjep66y11HGZxrLafd"
    "CFfrWkq/2dgTKJygKftrN0uMuC53V9nF5wxrbSWlx3fXG7vhEonWGtotzrkBxbZPNta+ab"
    "a5zbKGoJO89R5WZklHNqu+qneaYt2WRVhNV1VGCaxRpqcaIZuWyAfuEjpgv5BpyolK4B9G"
    "cT7HLrZf0niczblZa3R/F0/mEZb0VIQP8PBEBF5n6/6qdd3WFOR9bIwm2DX1GPayhzd5om"
    "VOm+4aN8fJFszwQCEkn0WOPBRAx4QNnQvCjClITcsItCUoGkXhNhrR6iMyXTboxpDv2Byb"
    "QbQLI8OmhAk0xlPkycgYHgC8aEJhBvkyGvZderZUIJMzEnYefPu2MNA3MNJv3w4z4nBbvd"
    "UyoTnDxrCvmMWxuFEAdDo+ka3sQvLNBCReNhgXCys0z86WiCsAVW5gQfUVR94sGA9xHTfc"
    "EZbFPMFW6mAQmPATOd0n2AunPzEb6P5j603z7BzBlB6SB2gz6Bjby/pOMUGdny4hp/PTXD"
    "HJrsdybf0lM+t2GaVeiMIxb0JWcmkjjjL7tD1waC3qSo9WjbeBYGXQYIHANlBaBzfaO1b0"
    "e+KctYNbOrcnZXC/jDn4GXuiFSzhDFNwobfQDHSATg9W1pIm4NfAGlPXQh6mJuIWrE0EO9"
    "KAoD6xuMyZMi7NKrVKsTci5vtEZuMHmSaVU96T7MrCU/M6ZQZu/3ZPm4J1IraUidhXkR30"
    "fMMgxCxf2k9wRy8KMOQbHmnOEhsgpc2Nw+0tcOLDqZ0I7oDjkAN+nC0BvCX5KgX9dffL5U"
    "0bfb5rX3XuO93buAmhOmUTNNAgyHPXbt0kTWvbXpivGQrnP/fd2xwbO82atOigC/0P2dSr"
    "FvASk+I5n5zeCfNMXiA555UVsIrrP2cos45fM+SyeU9eoaV/B1MwU6M/AfMiYw33EnCrnD"
    "KgaGZo8Hys41xV2Dl3g/OYeB64DKsYKinGKqC9aztlb8rDtu8vbax8BXwXd73yiThnnVMv"
    "W3ApbuGPHZl7XCuKmOCtJV1uSbsuMdaVdJy3lnSZJe0Sx8bGWoJOsNaZgVIL+sWzoiUrwa"
    "kLosokjUoURC0IICsDFhNPQQYsHp57OgHWZWRemhGmoeRrgJOsRBVN56fX4V/tRUKQFPRC"
    "yxA3z861RjI+U79YWM58lkVtoj6nZFBU2xTxVDDotsGysoVZLtec7mC4wwpIx7nqAr5lkI"
    "Y7CsJEANMKWCf5KjizNx/m9Oh/id6fCpIRaitS4nG+KsXbdlyCN6FmlkrJBX5OXyXMNxbj"
    "HII1PsxwknPhjBhqPLNixnNrcFktHHHU+ncZ/bt35UhaeLiAthri2vxMAsflBvE89bkuVK"
    "pAOLUuVKoLlepCpbpQqeRbbV2oVBcqVRbnulCpLlSqxDlWNsEe0cmDQ2GnXCPhncVfVzeU"
    "OeldH+uTv7jgAc0us6fhDNwTsYeLpVDqdTXiq1jbdTXiq5F0XY34SiSNjSHJqvngHIwvli"
    "PiOVNCuH3g2uXOnFOfE7z2TkzUn8oXxQl2bUpcxBnQ8uCERA+eH6mUpyq9UVGB5x8kcdnt"
    "3sQkf9lJuh1fPl227w6OD+OhvJy6tfyqqtQJezQz6Rvyfvjljtg4J4SdcUb7nllWebVs8X"
    "LMxDkH6yMVP1mhKlhts06vh/u+jd3icr00UaOoak8E5MmY9dLHV4T8iXI7eXKYyyfyowX+"
    "iA+q9t9o4lJw8xnClgA1Eh49g0Mlk3tgxUZvsEz93zyCLMv/6gq/Ulb41WmBOi1QHbhnGm"
    "yVPOMiz7MSjGUDe9cZRsAhS5Xk5wjmDJWY27tODjgu7+M+BYs909TOn/ApxnrWP2PW77fD"
    "+kRZ1dxxtVw+Vn6qGvmLO6Z1hP/ZKmkfAkMrxB+26S1+5e6IgB+oKgu1DE8xTtAo8hInin"
    "TpH5QLyxnD8wHxiHjoL973ovUI80y6LMEJpMHPbDDGfWbIN7mER2wr6/fkNnXZDR9U+OVL"
    "53oFp8/3qflW8qyzNJ/2/bQfLXhgKQuk7iT/nP6k7X6tqi3qJFh8i8tKPXqxe7fqy1v78O"
    "KW9pGr+WjOpzE1G0j+VJlDuGMvuzvt4GWjaP0va5tFHPtglAWRJdAQBmaoT4KDTqUknm8g"
    "bMVWK1FauDYVtpdD8ghh68g4YqsFXDoBl8QWbBGXGsMsIzDsKbT+cETzlPGXL9gNG12vJd"
    "D+zCLCfBtrjehuteO6W7Gl5KJaAeGQvILoHh8dLfM+2tFR/gtpsi/ztfhVTNUFln2wVUsV"
    "QHzRzezx/9QCpVg="
)
