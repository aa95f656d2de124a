"""The X-Matrix header: its grammar, and what makes a signed request acceptable."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import CryptoError
from signedjson.key import decode_verify_key_base64, encode_verify_key_base64, get_verify_key
from signedjson.sign import sign_json, verify_signed_json

from minihs.events.ids import ServerName
from minihs.events.signatures import BadSignature
from minihs.federation.key_documents import KeysUnavailable
from minihs.federation.request_signing import (
    Authorization,
    NotAuthenticated,
    RequestVerifier,
    parse_authorization,
    sign_request,
    signed_bytes,
)
from minihs.platform.clock import VirtualClock
from tests.support.deferreds import run
from tests.support.events import signer_of

HERE, THERE = ServerName("here.test"), ServerName("there.test:8448")


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix origin="a.test",destination="b.test",key="ed25519:1",sig="AB/+"',
        "X-Matrix origin=a.test,destination=b.test,key=ed25519:1,sig=AB/+",
        'x-matrix  Origin="a.test" ,\tDESTINATION="b.test", key="ed25519:1" , sig="AB/+"',
        'X-Matrix sig="AB/+",key="ed25519:1",unknown="x",destination="b.test",origin="a.test",',
        r'X-Matrix origin="a\.test",destination="b.test",key="ed25519\:1",sig="AB\/+"',
    ],
)
def test_every_spelling_of_the_header_says_the_same(header: str) -> None:
    assert parse_authorization(header) == Authorization(ServerName("a.test"), "b.test", "ed25519:1", "AB/+")


def test_a_header_without_destination_is_accepted() -> None:
    assert parse_authorization('X-Matrix origin="a.test",key="ed25519:1",sig="x"').destination is None


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Bearer abc", "scheme X-Matrix"),
        ("X-Matrix", "no origin"),
        ('X-Matrix origin="a.test",key="ed25519:1"', "no sig"),
        ('X-Matrix origin="a.test",sig="x"', "no key"),
        ('X-Matrix origin="a b",key="ed25519:1",sig="x"', "origin of the Authorization header is wrong"),
        ('X-Matrix origin="a.test" key="ed25519:1",sig="x"', "must have commas between"),
        ('X-Matrix origin="a.test",origin="b.test",key="ed25519:1",sig="x"', "origin twice"),
        ('X-Matrix origin="a.test,key="ed25519:1",sig="x"', "comma"),
        ("X-Matrix origin=,key=x,sig=y", "not name=value"),
    ],
)
def test_a_malformed_header_is_refused_with_a_reason(header: str, reason: str) -> None:
    with pytest.raises(NotAuthenticated, match=reason):
        parse_authorization(header)


@given(st.text(max_size=200))
def test_no_header_makes_the_parser_fail_otherwise(text: str) -> None:
    with suppress(NotAuthenticated):
        assert parse_authorization("X-Matrix " + text).origin


@given(
    st.text(), st.none() | st.dictionaries(st.text(max_size=5), st.text() | st.integers(-9, 9), max_size=3)
)
def test_what_is_signed_is_the_canonical_json_that_signedjson_signs(uri: str, content: Any) -> None:
    from minihs.events import canonical

    message = signed_bytes(
        method="PUT",
        uri=uri,
        origin=HERE,
        destination=THERE,
        content=None if content is None else canonical.encode(content),
    )
    whole = {"method": "PUT", "uri": uri, "origin": HERE, "destination": THERE}
    assert message == canonical.encode(whole if content is None else {**whole, "content": content})


def test_a_header_that_we_write_verifies_with_signedjson() -> None:
    signer = signer_of(HERE)
    header = sign_request(signer, method="GET", uri="/_matrix/x?a=b", destination=THERE, content=None)
    claim = parse_authorization(header)
    assert header.startswith(f'X-Matrix origin="{HERE}",destination="{THERE}",key="ed25519:1",sig="')
    request = {
        "method": "GET",
        "uri": "/_matrix/x?a=b",
        "origin": HERE,
        "destination": THERE,
        "signatures": {HERE: {claim.key_id: claim.signature}},
    }
    verify_signed_json(request, HERE, get_verify_key(signer.key))


class Keys:
    """Knows the key of HERE and nothing else."""

    async def verify_request(self, origin: ServerName, key_id: str, message: bytes, signature: str) -> None:
        from unpaddedbase64 import decode_base64

        if origin != HERE:
            raise KeysUnavailable(f"no key of {origin}")
        public = encode_verify_key_base64(get_verify_key(signer_of(HERE).key))
        try:
            decode_verify_key_base64("ed25519", "1", public).verify(message, decode_base64(signature))
        except (CryptoError, ValueError):
            raise BadSignature("wrong") from None


def signed(
    body: Any, *, method: str = "PUT", uri: str = "/x", destination: str = THERE, origin: str = HERE
) -> str:
    """A header as another implementation makes it."""
    request = {"method": method, "uri": uri, "origin": origin, "destination": destination}
    if body is not None:
        request["content"] = body
    whole = sign_json(request, origin, signer_of(HERE).key)
    signature = whole["signatures"][origin]["ed25519:1"]
    return f'X-Matrix origin="{origin}",destination="{destination}",key="ed25519:1",sig="{signature}"'


def verify(
    headers: list[str], body: Any, *, heard: list[ServerName] | None = None, uri: str = "/x"
) -> ServerName:
    verifier = RequestVerifier(THERE, Keys(), (heard if heard is not None else []).append)
    return run(VirtualClock(), verifier.verify("PUT", uri, headers, body))


def test_a_good_signature_names_the_server_and_is_a_sign_of_life() -> None:
    heard: list[ServerName] = []
    assert verify([signed({"a": 1})], {"a": 1}, heard=heard) == HERE
    assert heard == [HERE]


@pytest.mark.parametrize("change", ["body", "uri", "method"])
def test_a_signature_for_another_request_is_refused(change: str) -> None:
    header = {
        "body": signed({"a": 2}),
        "uri": signed({"a": 1}, uri="/y"),
        "method": signed({"a": 1}, method="POST"),
    }[change]
    heard: list[ServerName] = []
    with pytest.raises(NotAuthenticated, match="signature was not accepted: wrong"):
        verify([header], {"a": 1}, heard=heard)
    assert heard == []


def test_a_request_for_another_destination_is_refused() -> None:
    with pytest.raises(NotAuthenticated, match="another destination"):
        verify([signed({"a": 1}, destination="elsewhere.test")], {"a": 1})


def test_a_destination_that_is_only_left_out_of_the_header_is_accepted() -> None:
    header = signed({"a": 1}).replace(f'destination="{THERE}",', "")
    assert verify([header], {"a": 1}) == HERE


def test_an_origin_whose_keys_cannot_be_had_is_refused() -> None:
    with pytest.raises(NotAuthenticated, match=r"no key of stranger\.test"):
        verify([signed({}, origin="stranger.test")], {})


def test_a_request_without_a_header_is_refused() -> None:
    with pytest.raises(NotAuthenticated, match="must be signed"):
        verify([], {})


def test_one_good_header_of_several_is_enough_unless_the_origins_differ() -> None:
    good, bad = signed({}), signed({}, uri="/y")
    assert verify([bad, good], {}) == HERE
    with pytest.raises(NotAuthenticated, match="different origins"):
        verify([good, signed({}, origin="stranger.test")], {})


def test_a_body_that_has_no_canonical_form_is_refused() -> None:
    with pytest.raises(NotAuthenticated, match="canonical JSON"):
        verify([signed({})], {"a": float("inf")})
    with pytest.raises(NotAuthenticated, match="canonical JSON"):
        verify([signed({})], {"a": "\ud800"})
