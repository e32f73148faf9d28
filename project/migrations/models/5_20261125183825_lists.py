from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE INDEX IF NOT EXISTS "idx_predictions_top_pre_f4fabd" ON "predictions" ("top_prediction", "id");
        CREATE INDEX IF NOT EXISTS "idx_predictions_confide_5254bb" ON "predictions" ("confidence");
        CREATE INDEX IF NOT EXISTS "idx_predictions_model_371f34" ON "predictions" ("model", "id");
        -- What app/db/crud/search.py looks words up in. Without the list of pending entries, which every search has to read.
        CREATE INDEX "idx_predictions_words" ON "predictions" USING gin (
    to_tsvector('simple', regexp_replace(coalesce(top_prediction, '') || ' ' || filename, '[[:punct:][:space:]]+', ' ', 'g'))
) WITH (fastupdate = off);"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP INDEX "idx_predictions_words";
        DROP INDEX IF EXISTS "idx_predictions_model_371f34";
        DROP INDEX IF EXISTS "idx_predictions_confide_5254bb";
        DROP INDEX IF EXISTS "idx_predictions_top_pre_f4fabd";"""


MODELS_STATE = (
    "eJztXW1z4jgS/isqf9mkiplKyNvc7NVVkYTZ4TYTphLmZmuntjzClkGHkby2PITby3/flm"
    "wwfo0hQAzxlwSkblt+Wmr1m8Vf2pibxPbeXhOb/iDuVHuP/tIYHhP4kOprIA07TtQjGwTu"
    "24rYDKgoUc247wkXGwJ6LGx7pCEJPMOljqCcSfoWmpD+kPPRezQZEpcgjByXmNSQBD95iD"
    "ATUQ8JbpsNhOHLkE/gWi4SQyzQEHvI4GPyVt7M5AbcjbLBmq/rM/qnT3TBB0TApeDq3/6A"
    "ZspM8gCPCV+/aZ7AwlePzMiD0LEQZOzI/9ofktYZ6RYlthnDlZqSXrXrYuqotks66DDxQd"
    "HKR+rrBrf9MYvonakYcjZnoEzI1gFhxMWCyDsI15dAM9+2Q6nMsA+eJCIJHmGBxyQW9m0p"
    "LskdDCBq03T9ttvT79s9XddSopxxLEghbDI4k9MAhuopAAZyCG/+0WyenFw0j07O352dXl"
    "ycvTt6B7RqvOmui8dgMBFawaUUZp1fOrc9OSAOcy2YhrLhUfFggQMuJakIfd+10/D3QHjZ"
    "4IfkCfThsZLoz7Augn/WEOEfrY4tCKAAy177N4Xk2PP+tGXD7X9ad1cfW3cHn1q/Haqead"
    "hz0739ZUYeAX97ddO9VNBHUEeLI4721RC7beaPFeIdGCJmBkkhH3FXGXxtgqkA0NGBxaUS"
    "IQvq5rCBHNA30NtAoX4kJgIyC1ObmEndlbNqxvhBtwkbiCF8PT4vEOJMZMfnhwnhhD1N1R"
    "UXUqiyMsSUq5AWWZ5WS+uSzdFm1VLz+PTi9N3J+elcG81bipTQTOFEgCY3ghSu1wCMoGOS"
    "DW4GewJjM+R/O/tQAvFQz++CJup8at/3Wp8+x9TRdavXlj3NmCqatR4kJ/z8Iuhrp/cRya"
    "/o9+5tW6HJPTFw1R0jut7vmhwT9gXXGZ/o2FzEZNY8a4rJGy7lwNMRPU/d5a6jDM6VltN2"
    "hKt1LaXfbOwJFE7QlP21nSVGXJe7y+zic4aVtpLK47vtjd1wiURrBe0W51yDYtslG2vXNN"
    "vcZllB0Eneeg+rsqQjm1Vf1jtNsW7KItxPV1VGCaxRpqcaIZuWyAfuEjpgv5JpyolK4B9G"
    "cT7HLrZb0niczblZa3R/F0/mEZb0VIQP8PBEBF5n6/6qdd3WFOR9bIwm2DX1GPayhzd5om"
    "VOm+4aN8fJFszwQCEkn0WOPBRAx4QNnQvCjClITcsItCUoGkXhNhrR6iMyLRt0Y8h3bI7N"
    "INqFkWFTwgQa4ynyZGQMDwBeNKEwg3wZDfshPVsqkMkZCTsPvn9fGOgbGOn374cZcbiN3q"
    "pMaM6wMewrZnEsbhQAnY5PZCu7kHw9AYmXDcbFwgrNs7MScQWgyg0sqL7iyJsF4yGu44Y7"
    "QlnME2yVDgaBCT+R032CvXD6E7OB7j+23jTPzhFM6SF5gDaDjrFd1neKCer8tISczk9zxS"
    "S7Hqu19VfMrNtmlHohCse8CVnKpY04quzT9sChtagrPVo13gaClUGDBQLbQGUd3GjvWNLv"
    "iXPWDm7l3J6Uwf0y5uBn7IlWsIQzTMGF3kIz0AE6PVhZJU3Ar4E1pq6FPExNxC1Ymwh2pA"
    "FBfWJxmTNlXJpVapVib0TM94nMxk8yTSqnvCfZlYWn5nXKDNz87Z42BetEbCUTsa8iO+j5"
    "hkGIWb20n+COXhRgyDc80pwVNkAqmxuH21vgxIdTOxHcAcchB/w4WwJ4S/LtFfTX3S+XN2"
    "30+a591bnvdG/jJoTqlE3QQIMgz127dZM0rW17Yb5mKJx/33dvc2zsNGvSooMu9H9kU2+/"
    "gJeYFM/55PROmGfyAsk5r6yAZVz/OUOVdfyKIZf1e/IKLf0HmIKZGv0JmBcZa7hLwK1yyo"
    "CimaHB87GOc+3DzrkdnMfE88BlWMZQSTHuA9rbtlN2pjxs8/7S2spXwHdxVyufiHPWOfWq"
    "BZfiFv7YkbnHlaKICd5a0tWWtOsSY1VJx3lrSVdZ0i5xbGysJOgEa50ZqLSgXzwrWrESnL"
    "ogqkrS2IuCqAUBZGXAYuIpyIDFw3NPJ8C6jMxLM8I0lHwNcJKVqKLp/PQq/Mu9SAiSgt5v"
    "UfBr1pAOvM96FqLC6rs3xM2zc62RDO3U7yRWMxVmUZuozykZFJVFRTx7GK9bY0XawiyXy1"
    "V3MNxhCaTjXHXtXxmk4Y6CMBHAtATWSb49nNnrj5B69H9E708FyYjSFSnxON8+heq2XL03"
    "oWaWSskFfk6/T5ivLTw6BEN+mOFf58IZMdR4ZoWb59ZgWS0ccdT6t4z+3blKJi08l0BbDn"
    "FtfpyB43KDeJ76XNc47UEktq5xqmuc6hqnusap4lttXeNU1zjtLc51jVNd47QXR2DZBHtE"
    "Jw8OhZ1yhVx5Fn9dGFHlfHl9IlD+4oIHNLvMnoYzcEfEHi6WQqnXhYyvYm3XhYyvRtJ1Ie"
    "MrkTQ2hiSr5oNzML5YjojnTAnh9oFrmztzTmlP8MY8MVF/Kt8xJ9i1KXERZ0DLg8MVPXh+"
    "pFKeqmpHRQWefwbFZbd7E5P8ZSfpdnz5dNm+Ozg+jIfyckre8guyUofz0cykb8j74dc7Yu"
    "OcEHbG8e47ZlnllcHFKzkTRySsjlT8UIZ9wWqTJX493Pdt7BZX+qWJGkUFfyIgT8asS598"
    "EfInKvXkoWMun8iPFvgjPqjan9HEpeDmM4QtAWokPLUGh0om96yLtd6gTOlgrFCwrvCrZI"
    "VfnRao0wL7A/dMgy2TZ1zkeVaCsWpgbzvDCDhkqZL8HMGcYS/m9raTA47L+7hPwWLPNLXz"
    "J3yKsZ71z5j1u+2wPlFWNXdcLZePlZ+qRv7ijmkd4X+2StqFwNAS8YdNeotfuTsi4Aeqyk"
    "Itw1OMEzSKvMSJIi39W3RhOWN4tCAeEQ/9l/e9aD3CPJMuS3B4afALHYxxnxnyJTDhEdvK"
    "+im6dV12zWccfvnSuV7C6fN9ar6VPKsszad9P+2fFjywlAVSd5J/Tv+lbX+tqi3qJFh8i8"
    "tKPXqxe7fsy1u78OKW9pGr+WjOpzE1G0j+yplDuGOX3Z228LJRtP7L2mYRxy4YZUFkCTSE"
    "gRnqk+CMVCmJ5xsIG7HVKpQWrk2FzeWQPELYKjKO2GoBV07AFbEFW8SlxjDLCAx7Cq0/HN"
    "E8ZfzlC3bNRtdrCbQ/s4gw38ZaIbq733HdjdhSclEtgXBIvofoHh8dlXkf7ego/4U02Zf5"
    "WvwypuoCyy7YqpUKIL7oZvb4N6jIt+w="
)
