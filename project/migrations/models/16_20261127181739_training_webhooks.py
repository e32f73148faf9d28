from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        ALTER TABLE "deliveries" ALTER COLUMN "prediction_id" DROP NOT NULL;
        ALTER TABLE "deliveries" ADD "training_id" BIGINT REFERENCES "trainings" ("id") ON DELETE CASCADE;
        CREATE INDEX IF NOT EXISTS "idx_deliveries_trainin_8493a5" ON "deliveries" ("training_id");
        -- Whatever ends a training: its webhooks are due with it.
        CREATE OR REPLACE FUNCTION "notify_of_trainings"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status IN ('succeeded', 'failed') THEN
        UPDATE deliveries SET status = 'pending', next_attempt_at = now()
        WHERE training_id = NEW.id AND status = 'waiting';
    END IF;
    PERFORM pg_notify('trainings', NEW.id || ' ' || NEW.status);
    RETURN NULL;
END
$$;"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE OR REPLACE FUNCTION "notify_of_trainings"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('trainings', NEW.id || ' ' || NEW.status);
    RETURN NULL;
END
$$;
        DELETE FROM "deliveries" WHERE "prediction_id" IS NULL;
        ALTER TABLE "deliveries" DROP COLUMN "training_id";
        ALTER TABLE "deliveries" ALTER COLUMN "prediction_id" SET NOT NULL;"""


MODELS_STATE = (
    "eJztHWtz2zbyr2D0pemMmnGcxPElnZuRE/fiq2NnbOXaXu9GhUjIQk0SKkBa0d31vx9efD"
    "9E0rIMyfiSWAAWJHeBxb7x34FPXOSx56MF/hGtBm/BfwcB9BH/o9AzBAO4WKTtoiGEU08O"
    "hQs8uUUr2QinLKTQCXn7DHoM8SYXMYfiRYhJIEb/NCfAhysQMQTCOQIM0TvsoHeAzORvPh"
    "PAIUPeDJDAWwEI5pDNAWa8ZxE+Fw9xicOfgoObDc0XBfiPCE1CcoM4BOWz/vpv3owDF31F"
    "LP65uJ3MMPLcHJqwKyaQ7ZNwtZBtJ/jmLAh/kGPF204nDvEiP0jHL1bhnAQJAA5C0XqDAk"
    "RhiMQTQhoJ3AWR52k0x+hUL5sOUW+ZgXHRDEaeoICAVi+Qtg0mk4vL8eT6dDyZDErUiSEy"
    "CNZNDgkEZfmrMomAG/EK3/3l8PDlyzeHBy+Pjl+/evPm9fHBMR8r37fc9eZP9TIpttRUEm"
    "dnfzu7GIsXInz5qHUlGv6UMDCECkoSI8W+/L+E//dzSKuxH48v4J9/WBH/MbabCBA3pBRI"
    "l3x/EvAFDUOwQGThIeBAz+Ort7Tqa4jiw68TDwU34Zz/PHrVgO9/jK7efxxdPTt69W0e6R"
    "e651B2CfSn6F5EUw87k6o1X4/zHNBmEP8QK38w5rxiAWmY5RuhIAXnFAHhbMWhqB8hXhy1"
    "IMSLo1pCiK48IQQH60KDeLzR6/5yJvi0RvQQXH8cfXf4+gjgAMzRV+giB/vQM2QnMIeIOT"
    "qQIIUwmggUQXcIlhSHfCro+jh4xynC94V4NTBdAYf4PmSGkIGvFPFeExiWSfGB94TYR9Xk"
    "yEMWSOJq0OfxH+YQqPUB3YDq8dmn0+vx6NNnMb3P2B+exNdofCp6DmXrqtD6rMiekknAT2"
    "fjj0D8BP+8vDiV6CQsvKHyiem48T8H4p1gFJJJQJYT6GZxEjfHTTkyo68LzKfrQeY85AbI"
    "rE8aS+XNU5miO3LbazPnIS2VTaYyV9P6kDgDtjP0HZzzN/BWQxASKVHywzQKUcujc9dpLj"
    "Tm2W1GaxMNU+jcLiF1J7mejFiFGOO4qxCsTjTkDz9eIQ9KBJeXgrZZXKtZdvfQTlv1WpXY"
    "JIekDp3lLv/QL7bAAN7ITxLPFk/S6OIyayC1+ZLxR/cMm4w/jhzT0vYzAmq4UqwY8dGUuC"
    "vgc+n+LRf+Y6MMlzwDFwToDlEN4GoTTtn8s5kp11uAfh2waPo7ckKtyfLvFB/1b2sZMtIy"
    "pGncRzPIQVrNwLiTJStN3KJVpTmqaaOlMOs32+PJDpfKCjX6fJZaopaQCTO321b73uJOTE"
    "mynJMudhE93GijyFiZA79hQHzkEBAK+GsDfhQiccQsjbGH6EOpA/pTCKMpsKDIxfJVnzuE"
    "Un4MI3coaPJc635D8K/o8ODwqA8dXh62oMPLw1o6iK6CeTAnKrRnTXm4XuxpWxQ5c2NDeU"
    "obuTNS87nRbGqKZoRWOI/+fn15UU2cFKIoFPCvB/8DHmbmnB+bkAYEKnKCQLzkn30a/Vzc"
    "De/PL0+KJ7yY4KTIomYhol3QngBYrN8D667Lezs5LDIgvY6GLclJFyhcEnoL9OvG7MfxMA"
    "oe02/awf7xoMp9xELifxI/BlUafqZ72Kjmy4GTtKeNsi9HK9HVQ5AGDEAhv1IuSJFlAPhK"
    "4ZOBGSU+QF+hv/BQWZC6xzQ2rGNHlffHDet4XAI8sIYwhawTauPxRmsHkn8JlYzrY8ifIt"
    "flKGZCNdP8QvAGQ1Q0xa26CEApxL0koK0pBoE8gAl1ERXBG8s5duaiaQWWiCJxULe2YGxb"
    "TKJIPnxSI6TWsv8SnNGq2wVaJgclkK+sicQ3jPwOJgI9lHX8HTh4q8zm3bS5wxev3rw6fn"
    "n0Kjk4kpam86Ksp8mp+QM769IFQJNtfWP9qpqFcWQL/5VwXYhgVsPtfTYGpw/7spZ2Y3Zf"
    "zsSu12SHmFtrZN/QqcQ/TWnvnAycHoaZ2XvFM8SnbMW26RDPcKpmMYdW949nqDrh74ml+B"
    "DdJzQ9pGXoA/IwlzQqs36SvmGTTchVo3D76I8lms4JuX3L97VUBTK+g28YQIErZJ6QeK4K"
    "15iTJZ+LKpYwh0wEH5fjpzY5b6s4kBCGkfzkAH0NufQSIn8h/rfBIIbakyLqldE/5sSriT"
    "VUw00+LTcigp7+PG7WoBMJ9Pzy4m/x8KJaXfB8JpujLJucBpEvMX7GXxEGDir7PxNok5E/"
    "WEIcCnXt2YzQggv02yFYcH7De4dA80cuTfJhM4g95PaRXzafPqRZVgWZahlSFmR7xo2Dh2"
    "VLGzNSFA+CEl6bFeEK8J0Jcn6SyjCfasG/Dk3q2F2DpbAEabJurKPQPMhCoBfoI9kBEaWk"
    "wiRbf4onACZ7r/vjd9sHuzXzPQnOlsgsPQhdhLVnmMmUTmXWznbdEugDHWH7qqnujHdrPw"
    "lQMuVWbYoyOX4gFOGb4Ee0Kimx1RbJz7nJdooYdRZJ3kzhMjFwlTkB/4N/OwqV0j+6fj/6"
    "cDqoXPIbQHAHk+9uorewy6uR+ziBhadxnM2gwn6cdg6bDMhprE47A7KsjAOBiEnSQYEO8R"
    "eR8NeRGe/APn9XoOK0VS0Rh/9VEVN4n4kqTMS/FviGnFJZg22woQkcf9hgHPbj4Ne2ztQE"
    "wGQbpTEBhxJbEx3S0hnNWUCL7hbovkNOWGUnOcEBpKtqTKcwBRRPV6Hy7ZmB5MFH6M2Erd"
    "3BTGYbeTgMPST8exgG97ebnOgowUR743g+ObsYXf1SbTg5qYgqPPllfDoqmk74Sq6iSMhq"
    "DCZ6fIEaFyQwR2UejMAUh0A4QBB05nwGfpYnyV9qRcnCFzP+XMCwjz1I1bnaNoqjeWucnB"
    "V1qUdXaI3jNU9bozKNHBvWqR5J7NexSFVCfxqm1CDyZyKi2kSMKEk8VPK6SkLSEnsmtF+G"
    "imEGnDlybrkMv8ThvCpM5H6TVQr+iTDI5vDw9VFJ6M+MkHH84g9OVT4q0yND4m0Aibk6gi"
    "ZuB+k1hTBZbI39T3JjGF5yM9k+bR2ACYDJFDA2kCeqyxNbH8UT7UDKmGT4gtNLNt9nhR+3"
    "WODHtev7uBSTE58BJaQ3O92ycNa3arTH7YmkUMgVaRMobALFOqNg172QhbIKeu+lvwt2kv"
    "1UMRrMJDVeiM4WkkJBjx3bEG1NJFlOsN7jbLQJykS3s9EWqDMX+QsSosBZ1dxZVBgxbLJH"
    "4XRshzuMRgGIFh6BbmJMkuWG5D1ETKQbwRsoSh9gvoIikWJ0J9IF+BHskgDpzme//ZZ50e"
    "/4m/7227cVVqsHfVSbfCfHg1x3WGOfulWIbitP6eF7V7Dl8PXrFrISH1UrLMm+ZmvUjL8P"
    "oguqT9u2OC+AGS3LXs645BpXPJXLX5R4NNo+9ehilWGxso8j3MKALatKt9SbCVMIkxMFRA"
    "naGaYiTUC+7xBApnU6cQwYmzWQnh0lkqzJGshBWsuW0ZYtsgyqNl0Tz0tADOZ1g5F7hxmh"
    "K+AR5zatd0ucTKVJdTwZZ+zqUK/iQaV1oVB5unZDlaye7W+W1Isj10rpgmcKIUqGeapyVm"
    "+BkIopWZYF7bWjN1xO8suXsw8dfLdRhN3nAuZhJOTB97MokCIIkE8S/7z666DjfpFxtTJe"
    "NuTr8UaaI1XMj/Co+5DWeuc780hVlFsxvSw7kyha481dol5pulm4nclt4jRBQUyEWEuEYl"
    "Grcnwy9dAjooa6iOaytxNtkzt+5sgfKfmzgjdmehs544KPmyixsFsgvYp9YRCrsPcgH/cO"
    "AyL4nBQxIePr422h1sE3onCK2BwscTvIPVBirQ//OFvq12j9rIEXP4V6ISxyHIRc8wqBhG"
    "QxabKO12vNZUiDtWdjg2z442fYRXppFzwTXK2oQX4erID4mYDbK9R/uPxycn4KPl+dvj+7"
    "PtNlfxMRQnaKJt6AlYfi6nR0XrQLeV5mvXaqv1wBaq+i6F9j2eZb2Xyr/UG3rDIzqc7wqc"
    "d1HmofTs7t4NlHjMGbClSvKQOUBdwHbG9bTtmZgnEPry9trKAV111ov4JKecidsUQ9Sc+I"
    "qCsgAmd6ucAKsJbSZlNa30vZi9J5WEtpkylN0cKDTi9CF0CtW9toQj96SI9h8aNGRErbaN"
    "59iubNEKDKA5YjT4MHLG+eW+8AuwxQEleo3VDiYoBllaOqIpOpD3y3qwVKOeJxQ9nwHvdk"
    "rMLyd5o6xvB/0EQVc5E9aXJy3uhj08/NdJLNsIe63omZhdlDS94GA60zq1xs5MkC8id0wH"
    "Qeyoa0t8E0f2KIglChqQOui3B7uLI3bzvNsP9OTDwPt09GvG0nG2O3iqXUIj4Zv08435jh"
    "dM5F/HmF5l2LzhTA4rPKEL2nxW3M4b87F+M00HcYDbphfJBcfaRj5OXfNvppD2y0NvrJRj"
    "/Z6Ccb/WT4UWujn2z0097i2UY/2einvbgu00OQoQn6usD8pOzhRa+CtyETJnvS7e2B9ZuL"
    "f6B7GXgrvQJ3hOx6szRS3YY4Pom9bUMcnwylbYjjE6E0dOaoKuaDEC58BTUkToCK9whxqG"
    "2ezDVBPyqXHrlguhLZ5whSD4s7awI+VhdzYaKGrnR5yngeaRXYwMVCl5fnOcqLy2vyaseX"
    "TyenV89efJs35ZVF5/2tIa2vIsiVkk5DrMyuJs2fzjXtaFFjXb32oefVx0oVgR/XS3lQsX"
    "G0NquIggJXV3ERBMM0dva8Ez/5zqIIBCQEDon4h3UsjPTy8M1RQinxo4k2159G5+dlYlB0"
    "h9GyZ3h2DtSeUSafUQmxpp1KjxbADDaIZSq6J3zR4KLud4gKV1A1Ldb7uTPgJtNEeh+pn5"
    "SnQZTJ0jTythlR5Uq0SrnhG84RxQUjseDbh0qbd3qr5T9h8hqurhJeGbifpLclWl3prS5q"
    "ZS4gDeO9RLlsR3ygPmMoT6spcmDEUEo9VXqWL1Qacto8ugzYoWBVSmv+GZhvK1wZ+Kdhf/"
    "jxCqVF9aqzJD6oeVbGUPbeORJ570ruGur+aMrder1jVsh2iMpc3ncPNKX3BO4jkorV2Poj"
    "Kl//bV9w9ZDZRFccP+fYx+GgIpko7Rw25RIJHE88Ma5lLtFHsgR+5MwBTAQ0GIhbkLisy4"
    "ZgLs4Rpm6WX6r6mLJ4vzhtMB/HG7FXUTRvc9O2yTyaUYSaK/yzaPo7qhPvaqz4KYi5aRGq"
    "1ry491NYfDQ2e4nUxwcthLXjg/o74Q7WVv7XVCrRoFmtzYDtjgNNFS6Fnqdy6IDDV/8UqT"
    "Uvr7WwpUq3mah5LcJ5q7M0465GtsrUoNYX/04pWTJElcmJ4ZtAWAHVPSeKI1Zd8NsOqA0/"
    "zAQX1LNEzoM7ZYrF481mhkIFcgi5xcjIGzfquaMNMthbJpjXQvrGDW08YsiSea9uS21Bzv"
    "1MPm8ot1F5sVfnOhujBdZXse0WCdrW2EgXnknFNcZwGnmQNtfYKA9qlONCNbyYE9K65ryG"
    "L9TI0PdsiD9n/CiOOB95B5YUh6HQAWYhl+n0ZUdQO/Frq8xv9AFtRMVciQ5bQcPICho27c"
    "am3ewPumMOVsZ0fR5fFuZeCXymIXvbGXzS0VvGfH0OTgKwF2t728k3C0qmcIo9HFa6MesX"
    "fAnQrvp7rPrdDghdd81fHBg6o8RX9i/x5o/u9LcZNPdmSbtg9TDEwj8WGFV4LiuJcd+wUT"
    "fUo1ob+WMAeR8YcCIW8v0nJ37HNTYHpbVDhrxfi4l1NRnvP133Eo1W3TNS3du9ijs9Tq3d"
    "KrbDsT6tuiO4dkekADuQtaB5yVBJEC+6Bb1vLK+aIv6trJ+UUIS1coJxcoJNrX1qVLaptU"
    "+F0k+6JIa+ozpksSgDPMLEneFt4/D2aSXYajMblor2N2U2lyubCHCmJ8su56SLi0gPN1oV"
    "SxP1OCHMztKT3ohOhvQUwhZ+7G9Ar8+dqWVCWRCT2dCF1NTF+o/f+JH03/jxk+4lrStATc"
    "5CvZzJyPj4rWXqgkrGV7vVyMjdlFBTIaz2CBcowhlMImOCBXzEn+904vgZEMvy+7P82iTA"
    "hmrLKcgOYF6F3DmUMPbdHfSwKxMakwg6MONSEILOPOZT99fmHoROcwQr1YMA0lVNIoeGKL"
    "q147tSDKGOvPeCvRV5g8+DxX/ArCrRsLtTW6M1oQEnwcnZxejql+o4j5MKMpz8Mj4dVZCh"
    "x8ldALNHwvojQQgD1UdvfRRTFsZgHHOWtBIKF2aAIXonPL1CFYPCuCTYEdQVOzZgWHqIaC"
    "dbUNsW1DZKMHqQVa6ifrva5LJQNr1nQ+k9NYHxnRN83stgm0/xbLtFibZZPtkV2DXPx1bl"
    "eeTaID8ReovoZ+VgGlTEuOUHDJsC3ZZyaOswt9irJc3DIbxFDPxOpiwNN+VUEQSCwuUFPM"
    "hCLrIHRFSfEtZ8hrxZVbjbpqZdH/bWKczty5ezDx2C3KIIu88FTB++sT7WbfD9jH+w1Evl"
    "k8Q/r/462P5JKg/Nl8qzmFWF5Kc3h7N1vft3F+79HXwkcj26yTLGXFYXIvoCkfa2gi3cVZ"
    "vu/9b2swRiF3IOlBUnrbAC2a2y3RhqrjEo9MlGuD1ghBtCQR8ap2CWwMYR2JBUhxEXv515"
    "lRCoexqlP5iOWSf81RN2w0LXU0ksuKevuF7G6uGN3O+05QeRpcSm6oBhPXwPsfvioE2xQD"
    "6qPsXi4KCIXf7EEAUVR2a9qJoB2QVZ1Shf76MeZn/+H55XPaA="
)
