from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "calibrations" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "model" VARCHAR(64) NOT NULL,
    "model_version" VARCHAR(64) NOT NULL,
    "reviews" INT NOT NULL,
    "correct" INT NOT NULL,
    "labels" INT NOT NULL,
    "temperature" DOUBLE PRECISION,
    "computed_at" TIMESTAMPTZ NOT NULL,
    CONSTRAINT "uid_calibration_model_4f9db1" UNIQUE ("model", "model_version")
);
COMMENT ON COLUMN "calibrations"."reviews" IS 'Reviewed results when it was computed.';
COMMENT ON COLUMN "calibrations"."correct" IS 'Right ones among them.';
COMMENT ON COLUMN "calibrations"."labels" IS 'Labels of the model.';
COMMENT ON COLUMN "calibrations"."temperature" IS 'Divides the logits of confidences; none with too few reviews.';
COMMENT ON TABLE "calibrations" IS 'What reviews say about the confidences of a version of a model.';
        CREATE TABLE IF NOT EXISTS "decision_thresholds" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "model" VARCHAR(64) NOT NULL UNIQUE,
    "sure_from" DOUBLE PRECISION,
    "labels" JSONB NOT NULL,
    "precision" DOUBLE PRECISION,
    "chosen_at" TIMESTAMPTZ NOT NULL,
    "key_id" BIGINT,
    "who" VARCHAR(64) NOT NULL
);
COMMENT ON COLUMN "decision_thresholds"."sure_from" IS 'None: the manifest decides again.';
COMMENT ON COLUMN "decision_thresholds"."labels" IS 'Other thresholds for some labels.';
COMMENT ON COLUMN "decision_thresholds"."precision" IS 'Share of right results for which it was chosen from reviews.';
COMMENT ON COLUMN "decision_thresholds"."key_id" IS 'API key that chose it.';
COMMENT ON COLUMN "decision_thresholds"."who" IS 'Name of that key, or who else it was.';
COMMENT ON TABLE "decision_thresholds" IS 'From which confidence on a model''s results are sure, as chosen by people instead of the model''s manifest.';"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP TABLE IF EXISTS "calibrations";
        DROP TABLE IF EXISTS "decision_thresholds";"""


MODELS_STATE = (
    "eJztPWtz2ziSfwWlL5Op0rgcJ3FyydZWybGz8Y1jp2znZmfntjQQCVkYk4SWIK1o9+a/X+"
    "PB98MkrQck80sik2iQ7Ab63Y3/DFxmE4cfjOb0Z7IcvEf/GXjYJfAjd2eIBng+T66LCwGe"
    "OHIontPxPVnKi3jCAx9bAVyfYocTuGQTbvl0HlDmidG/zBhy8RKFnKBgRhAn/gO1yAfEpv"
    "JvmAnRgBNnipjnLBFGM8xniHK4Mw8OxENsZsFTqHe3ovlCj/4rJOOA3RGA8GHW3/4Jl6ln"
    "k++ER3/O78dTShw7gyZqiwnk9XGwnMtrJ/Tu3As+ybHibSdjizmh6yXj58tgxrwYgHqBuH"
    "pHPOLjgIgnBH4ocOeFjqPRHKFTvWwyRL1lCsYmUxw6ggICWr1Acm0wHl9e3Y5vzm7H40GB"
    "OhFECsH6ksU8QVl4VS4RcCde4af/Ojp69ert0eGr43dvXr99++bd4TsYK9+3eOvtn+plEm"
    "ypqSTOzv92fnkrXojB8lHrSlz4U8LgACsoSYwE+/L/Av4/zrBfjv1ofA7/8GF5/EfYriNA"
    "dCGhQLLku5MAFjQO0JywuUOQhR0HVm9h1VcQxcXfxw7x7oIZ/Hn8ugbf/zO6/vh5dP3i+P"
    "WPWaRf6jtH8pZAf4LueThxqDUuW/PVOM8ArQbx61j5g1vgFXPsB2m+EQhSAKfwGLAVyyfd"
    "CPHyuAEhXh5XEkLcyhJCcLA2NIjGG73ur6aCT2tED9HN59FPR2+OEfXQjHzHNrGoix1Ddg"
    "K3mJijBQkSCKOJ4BNsD9HCpwFMhW2Xeh+AIrAvxKuhyRJZzHUxN4QMsFLEe41xUCTFKdwJ"
    "qEvKyZGFzJHE1qAH0Q9zCNRYQNeg+vb8y9nN7ejLVzG9y/m/HImv0e2ZuHMkry5zV1/k2V"
    "M8Cfrl/PYzEn+if1xdnkl0Mh7c+fKJybjbfwzEO+EwYGOPLcbYTuMkuhxdypCZfJ9TmK4D"
    "mbOQKyCzljQ9lVdPZZ88sPtOmzkL2VPZZCqDmdaFxCmwnaHv4ALewFkOUcCkRgnCNAxIQ9"
    "G56zQXFvP0PmW1iQsTbN0vsG+PM3dSahXhHHBXolidaMhPP18TB0sEF5eC9lncqFl2V2gn"
    "V/ValdhkR6wKncVb7pGbv4I9fCc/STxbPEmj6yN26MTH+l0LHqD07WGdG8hKBjZ2BYF5Bc"
    "ybkgXo/XiJ8ISFgdwrgIIptYlnES4MMoweiC+Iqv6QTy9zBT15vhJX0G/qYwcRxsYadPDP"
    "3km0C06imHpNTbUYwGRLrTkR1myDZfdEWzSnAXt0N0C3Zm9FRFdykxTE4yxli66Ha/mexA"
    "YOzgGAo8WMeIgGaIG5cDvMQXmymzoeFOc5evn67et3r45fxwwnvlLHZyKeknI0MN8nVonW"
    "Won1FITZWKd3swAxD+Qidpl3J6SluyUsw7drpaIhkhMAo3F8IV8zciyXKy+bwXBA3LnASO"
    "iXxE0+OQxXIDoHl8P2VACaY3ad0gdQ9bhEtsPuhFMZUJ/SAD8gDxY8WtBgBrYZQ1OyiNTG"
    "p1tnp1ffTi7O0Nfrs4/nN+dXl1lzTN4Ul+ACDST2rs9GFwV2o7hdF8dmFrT3bO6yZbxWs2"
    "+GPcldihafujOsNfbkmIZ23gip4SqexplLJsxeIhfb5L0Q8DoWP0TYs5FHQCXUALaO3BdN"
    "vdVM+Xjg/7cBDyd/gCDXAUz4ztj0620942w9TeMufDMD2bNN49hmWj7ek2VpFkLdRktgOu"
    "mKG9JdrpSOOPp6niQgCPtH+L/b6Ywb2YkJSRYz1sb418NNNvllRggQ4QeOxEcOEfPBJGUI"
    "RCHRZqkhYXAtlFqgP4EwmgJzn9hUvuqBtqeJPRQ0OdAhvyH63/Do8Oi4Cx1eHTWgw6ujSj"
    "qIW7mskIyq0Jw1ZeGMNmXP7ciMTWgjd0aSNWU0m5qQKSuzff/75uqynDgJRF4pgK9H/4cc"
    "ys2RH6vQBgQqMopAtORffBn9Pb8bPl5cneQlvJjgJM+ipgHx26A9Buix/gSs2zbcbZWnlg"
    "LpJBo2pCddkmDB/HukXzdiP5ZDibfNdFlTjPuQB8z9IgNZZRZ+6vaw1syXA8fJnSbGvhyt"
    "VFeHYN/jCAv91QdFii08pJy2aOozF5Hv2J07pKhIPWGaPpt/R4337Wbzb5cAa7YQJpi3Qm"
    "003mjrQPIvYZKBPUbcCbFtQDEXppnmF4I3GGKiVYW2qhWgythWOw1oY4aBJwUw823ii5z9"
    "xYxaM3FpiRbEJ0JQN/ZgbFpN8ol8+LhCSa2JrOfgjDbdLskiFpRIvrImEmwY+R1c5Pcr7/"
    "gHdPheuc23FagUU8MDW9vSOUCTfX23+lU1C4sy0iiXNYyG+/v60osu7Kv3tBuz+zIudr0m"
    "W5Ra9k72FUkl+DRlvQMZgB6Gudk7pbFHUrZk27RIYz9Ts5hDq6ensZdJ+CdiKRKi+4SmdX"
    "qGTolFhZpxOwMpMWM5B0jloGGdl8jWw8dBNL6hr+iTcN4oJTRJz0KgA+mU/B94nAyKwYbg"
    "oQ+TiGxQoTB5Ql3VdfKgvAYE25kUOwAGLNAp4SVdIzb65N4jtaMeqW2XDuy1T0rsqbFw0R"
    "QRXJOJmoEyOw/1knnkveIKmhsgwSlFaiq+AzSbkWu6956pK8FzUSKa0BQ0TJExqEMIhjql"
    "5r6Wqq22RwbK7O1xMxOSFeSmL0sQInE7ZSm/1CIRuTLQY1aWtnyxTrmGKcDeAdI7QLay/7"
    "IOEOmC7N0fvfvDxHSGU+LQB+KXdiiM7w3rTVQ5ijYvWViQyYyx+/eiDFHEr1IJb2DfEc8W"
    "jvoAFApVYzBjC5jLV4ScqYrFYq+HVc7bqHghwEEoP9kj3wOQOKKQS/zfVzAYanKGfonBeQ"
    "vEK0e+Hm4yj1uJ2nD299t6DTvWGi6uLv8WDc+r3TkDNN4cRYly5oWuxPg5vCL2LFI0RGNo"
    "k5E/WGAaiBjjC6FXZ/N2fxyiOfAbuDtEmj8SW8ifKaYOsbtIndW3OtQsq01VcBpkcxH5w/"
    "WypZVF1vOCoKXtUgK+Mw2ZnqUBA1PN4evIuIrd1aS3FCBNtmd06ZSDeYD0At1S8grxfVaS"
    "R1QtxWMAk1Ouu+N304K9z015Fpwt1lk6EDoP28swkymd6KytfXEF0DWJsH21VHcmJXM/CV"
    "BwwJVtipIIEfMJvfN+JsuCEVueRvM1M9lOEaMqjQYu+3gRO7iKnAB+wLcTFd/5OLr5ODo9"
    "G5Qu+RUguEWe0m6iN7fLy5G7HffxWVQcMijxHyc3h3UO5KTApJkDWfYixUgU0uhKtqgzk2"
    "o5Sl14V6SKi9W5Bxb8KimEe8pEpd1Ms3xDZaz0rUyN4fjDGufwtvORtqzS9q1M9wrdD8QK"
    "yvwkJ9TD/rIc0wlMDsWTZaBie2YgefAZO1MUZ+MMkUODwCEivkfxCjK/TnQWUWy9AZ5Pzi"
    "9H17+WO05OSrKOTn69PRsVOg/aJYWiJyBXKhwmenyOGiL1zRiTeTBCExrIxCKCrRnMALI8"
    "7liiVpRs0j+F5yJOXepgX8nVFWQaScLkbamtG7TG8ZrnbVGZRo4V21RbUvt1AU2Z0p/U1t"
    "So/KkyniYZI0oTD5S+rjpnaI09VY8uE3yoyGok1j3o8KIJbVmayNMmqz/GgM/w0ZvjgtKf"
    "GiEzY8UPoCqMSt2Rddx9Aom5NoImbgvtNYEwWW2N4k9yYxh+PGC8fZoGAGMAkylgbCJPWN"
    "Xc5PEsnnAH+pxIhi84vWTzXVb4uwYL/F3l+n5XyMmJZEAB6fVBtzRcH1s1OuL2TNLe5Yrs"
    "0977tPdqWS707LGqOyrZDowBd/bKCZGDzDusAHSTFKk0W9QbytzyltuhbmVfXV1keJ3wgW"
    "Rx/u3Lydn1i5eSFEmdVcWpMOOqxq2P6FTjyvatRuVWnQdcVSNGgRwckSU5tcDQZCvl+24r"
    "K9JQvQOrs2jYBT/ifprgNW7Eiihdaw9irkvrjm2Ipi7ENCd4PCPDaBetiWkZRntoz23izl"
    "lAPGsJVBuUOGpzI4Z1/lqajB2DTtnUb+uhcO4wbMfOVtlDGrl4ibgox5O9GqRrVRwmO8MP"
    "opwGVFRbnCGmbr74/ffUi/4Eb/r77z+WeHXX+qgm9YCWg8G2fsR/e68Q3dTe0MP3ruPJ0Z"
    "s3DWwJGFVpTMh79d7aKbwP8ee+lrZNcZ4DM9rWu5qCZRcdYyOXvzi3w2j/7dbVKsNyybej"
    "3GKPL8r68VabfAmEycaeOFdoSn1RRiPfVzYW081OePPjCzZeVZPIjgJJHqmqyUD2nl+jPb"
    "9s4ZVtujqeF4MYzOsGI/uBcuYvkcOs++QQI2aljg9R4sk4Z7AhXTikQeXohpxlunr6fr2m"
    "nh/5qJYueKZQomQatOpR/l6cWo18tigq2o+OXnFHxm/fzk9b5DaEIbUPBMx6NOTBX6ahJ1"
    "UQJJ8k/nn910HL/SLzzmU+eQDr8U6661VOnMg4cbFfmb3Smkeqk9YU00uzM4miR7IdFqRT"
    "GXsabmdq/4AmxIuIEFmJWCxqdcaCLM11mDgYT2Q7rkCP2DXhpTE5bp0oXwA0WYH8mGtC+y"
    "FeDDQYqmM4PJ079uXq9OwCtEqHWEHfSOrgK+yQkTISSgRY6m6t+JrDuLHS3dtVA6kEPo6p"
    "qt3xssU72GOyVaWwAzCHTfw+17DlB9H9SaxYHsdOJaMqyL/1P65vaWy0EV0jMJ9D0yMeWh"
    "YhtnndjAI2H9eFMKpdG0VIgyWUsZmCSa/3kvBRdVfdLJjRbXVXgfpVNMcF8y61Xlv1ly4B"
    "7Q+B7d5Iui8a7YtG9wfdslXWuLxMsRrXWah9kJybwbNLOAeToY2iUgDcB2xvWk/Zma6X67"
    "eXVtaVD2wXv1tXuCzkzrgLn2X4SjRHEdlNneKUOdie0mZT2veJ1ZXSWdie0iZT2idzB1ud"
    "CJ0D7XMPjCb01vOuDEvyNSKdvU+53qeU6xQByiJgGfLURMCy7rnHA2BXHomTP3UYSpxusi"
    "gLVJWUOnWBb3c+SqHRRXSh6HiP7qS8wvLvpP6V03+TsepIJe8kHRayTh81TabntJi8D50Z"
    "GTqbUofI3wUa1CVqJzB76N9bYY58apWL7T2eY3hCC0xnofpqhCaYhicGxAsUmlrgOg+3hy"
    "t7DefdJkKhFRPPwu2Ta2/TfRSoXcZSKhEfj98nnK/MnToj4tjWFuhMAHp8lrmn97Rvlzn8"
    "d+cynwb6eLZBO4wP4lPddHmD/N3nRO2B57bPiepzovqcqD4nynBR2+dE9TlRe4vnPieqz4"
    "nai5OAHYI5GZPvcwqSskNsvQy+T6QwOb7eH4xavbngA+0rz1nqFbgjZNebpZbqfeLjs9jb"
    "feLjs6F0n/j4TCiNrRkpy/moazudABnacVoWzhNb9C/AHiLYd6g4jsuDsboPDxftwWXIU2"
    "b5SK+AUT2p97c9vj5lJdMlP0m8MrtRPjwdLO1wXuFdvXGx41TnSuWBtxulPCzZONqaVUQh"
    "nq0b8AiCUT8K9nwQf8LO8gnyWIAsFsKHtexp9ero7XFMKfFHHW1uvowuLorEUP3LOyZtZ0"
    "B7GWWyjIqJNWnVNTYHZrBDLHVYRcwXDT6v4oH4IhRUTovH49wpcJNpIqOPvhs3rSE+lw1r"
    "1CEKlMurUm/4ATiiODspUny7UGn1QW+1/MdcnjDYVsMrAnfT9DZEq2u91UWb0zn2g2gv+a"
    "DbMRepzxhKaTUhFg45SainugbDQvUDoI1ROqAFiL1jPi3L56sO5GahdiCGO7gJ3bhBZhL0"
    "l5dAn1I7jos+zvJwXf19y6eTai2BX1sfyNyVPabhTeaPPAT9D9he6IlfXXjeCs6Ma9H0LU"
    "0hh4IQKt1WJxr208/XJOkeWl5pdKrmWRpDkyfXGWVjke6E2CLL64loOovm2UGffTNEpU7x"
    "fQKakgOD9xFJ+Y6G3RGV7aG4L7haZ0XeNeDngro0GJQU5CU3h3X1eALHY0eMa1iP95ktkB"
    "uCvMaxOYM9cf4byE4+lIfBgR4my+kWqhGwPKVE6GYg6TFcpE5J48nVTdukem/qE1J/lAkP"
    "J3+QKmOoIuaVgJhbRKQO1RAHgAv/qMZmJwP03WETOX9YLegPHz3iRFOpQIN6J1AKbHfCza"
    "pDs1CLZR0qaMMe2DRqzcvze55JT+YWmt86WeuNSH4vr3SObtWyVa4GNT1JCk18tuDEVw5a"
    "Tu884TNXBzopjlhyJlRDoCb8MJWKU80SgQe3qquMxpvNDJVxyu4pMfJooWru2Kfk7C0TzF"
    "ohXbPsVp5f15N5r45Nb0DO/WzVUNOypvQEw9a9akZzqs+c3C0SNO1Tkyw8kxrU3OJJ6GC/"
    "vk9NcVCtHheo4fkKqsbnNmj4XJ8ZfaCQ+DkFURwCH/mAFj4NAmEDTAPQ6fSpblinvFSe1L"
    "DSBzRRFTNtbvp+M0b2m+mL1Poitf1Bd8TB2gRL0zBPCpWahuxNhz1lkLaI+eqKtRhgL9b2"
    "pkvV5j6b4Al1aNAyO6AA2K/6J6z63U6ffuw80yiNeuozV/m/xJublSLTO7f21ethiIf/Vm"
    "BU4bloJEb3hrW2oR7V2MkfAcgEKGSFPID9Jyf+ABabRZJOO0O4r9XEqr6mT5+ufZvT3twz"
    "0tzbvf5UHaTWbrWmAqxPyg5Dr9wRCcAO1PhoXjJUGsTLdiUiK+tC4BP4Vt5NS8jD9nqCcX"
    "pCX4j+3KjcF6I/F0o/6wYyKtWLBjxSZZDDOOHNa2T3aSX0vZlWrBXtb4F5prI8VuBMLy1f"
    "zFibEJEebrQplpS1AiHMrmlVNWZtHOkJxA6U2BnrQK+unalkQmkQk9nQpbTUxfqP3nhL9m"
    "/0+HH7BvAloCbXJF6pgtHorWXpgmpdoXarkZm7CaEmQlntkC6QhzOYRMYkC7gEnm+14vgp"
    "kJ7ld2f5lUWANb3JE5AdwLxKubN8xvlPD9ihtixojDPo0BS0IFnJrvmUoYXsM4JLzQMP+8"
    "uKQg4NkQ9rRycLGUIdeUoMfy/qBg+8+b/RtKzQsH1QW6M1pgGQ4OT8cnT9a3mex0kJGU5+"
    "vT0blZChg+TOgfUi4XGRUN25oTqLaVe6NfwyWwqDi3LEif8gIr3CFMPCuSTYEdb9bVbgWF"
    "pHtlPffr5vP2+UYrSWVa6yftv65NJQfXnPisp7KhLjWxf4fJTJNl+i2XaLEk2rfNIrsG2d"
    "T9+VZ8u9QX5h/j3xv6oA06Akxy07YFiX6LaQQxunuUVRLekeDvA94egPNuFJuilQRRAIi5"
    "AXcjAPQGX3mOjVJrz5nDjTsnS3VU37eNpbqzS3b9/OT1skuYUhtQ8ETBe+8Xiu2+AvU/hg"
    "aZfKJ4l/Xv91sHlJKoXmKxVZTJtC8tPr09nanpS9C6dkDz4zuR7teBlT0NWFij4nrLmvYA"
    "MnOyf7v7H/LIbYhZoD5cVJOqxgfq98N4a6awxKfeoz3NaY4UaI14XGCVhPYOMIbEipwwjU"
    "b2tWpgTqO7XaH07GPKb8VRN2xUrXcykseGKsuFrH6hCN3O+y5bXoUmJTtcCwHr6H2H152K"
    "RZIIyqLrE4PMxjF54YEK9EZNb00E5AdkFXNSrWu1Vh9uf/Ayv6/To="
)
