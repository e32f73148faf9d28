"""File names of forms, as clients of all kinds write them."""

import pytest

from app.api.file_names import file_name

NAME = "Äpfel 🦊.jpg"
ENCODED = b"%C3%84pfel%20%F0%9F%A6%8A.jpg"


@pytest.mark.parametrize(
    ("disposition", "plain", "name"),
    [
        (b'form-data; name="file"; filename="a.jpg"', b"a.jpg", "a.jpg"),
        (b'form-data; name="file"', None, None),
        (b'form-data; name="file"; filename=""', b"", ""),
        # As browsers escape quotes and line breaks, and nothing else.
        (b'form-data; name="file"; filename="a%22b%0D%0A100%25.jpg"', b"a%22b%0D%0A100%25.jpg", 'a"b\r\n100%25.jpg'),
        (b'form-data; name="file"; filename="x"', NAME.encode(), NAME),
        # RFC 5987, alone or beside the other one, in any order.
        (b"form-data; name=file; filename*=utf-8''" + ENCODED, None, NAME),
        (b"form-data; name=file; filename*=UTF-8'de'" + ENCODED + b'; filename="x.jpg"', b"x.jpg", NAME),
        (b"form-data; name=file; filename=\"x.jpg\"; FileName* = utf-8''" + ENCODED, b"x.jpg", NAME),
        (b"form-data; name=file; filename*=iso-8859-1''%C4pfel.jpg", None, "Äpfel.jpg"),
        (b"form-data; name=file; filename*=utf-8''%E6%97%A5%E6%9C%AC.png", None, "日本.png"),
        # Wrong ones.
        (b"form-data; name=file; filename*=utf-8''%FF; filename=x.jpg", b"x.jpg", "x.jpg"),
        (b"form-data; name=file; filename*=nonsense''a", None, ""),
        # Encodings of Python that are none of text, and fail in ways of their own.
        (b"form-data; name=file; filename*=undefined''a.jpg", b"x.jpg", "x.jpg"),
        (b"form-data; name=file; filename*=idna''xn--a-", None, ""),
        (b"form-data; name=file; filename*=punycode''a-99999999999", None, ""),
        (b"form-data; name=file; filename*=rot13''abc", None, ""),
        # Quoted, which RFC 5987 forbids.
        (b"form-data; name=file; filename*=\"utf-8''" + ENCODED + b'"', None, NAME),
        (
            b"form-data; name=file; filename=\"; filename*=utf-8''no\"",
            b"; filename*=utf-8''no",
            "; filename*=utf-8''no",
        ),
        # RFC 2047.
        (b"", b"=?utf-8?B?w4RwZmVsLmpwZw==?=", "Äpfel.jpg"),
        (b"", b"=?utf-8?Q?=C3=84pfel.jpg?=", "Äpfel.jpg"),
        (b"", b"=?utf-8?B?w4Rw?= =?utf-8?B?ZmVsLmpwZw==?=", "Äpfel.jpg"),
        (b"", b"=?nonsense?B?w4Rw?=", "=?nonsense?B?w4Rw?="),
        (b"", b"=?utf-8?B?%%%?=", "=?utf-8?B?%%%?="),
        (b"", b"a =?utf-8?B?w4Rw?= b", "a =?utf-8?B?w4Rw?= b"),
        (b"", b"\xc4.jpg", "Ä.jpg"),
    ],
)
def test_name_is_decoded(disposition: bytes, plain: bytes | None, name: str | None) -> None:
    assert file_name(disposition, plain) == name
