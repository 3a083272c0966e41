"""The unmodified clerk-backend-api against the real binary (clerk-wire, sections 1 to 8)."""
import pytest
from clerk_backend_api import Clerk
from clerk_backend_api.models import SDKError
from clerk_backend_api.models.getapikeysop import IncludeInvalid
from clerk_backend_api.security.types import TokenVerificationError, VerifyTokenOptions
from clerk_backend_api.security.verifytoken import verify_token

USER = "user_2f4KmXyZaBcDeFgHiJkLmNoPqRs"


def client_of(server, base="/v1", secret=None):
    # Without this the SDK retries a 5xx for up to an hour.
    return Clerk(bearer_auth=secret or server.root_key, server_url=server.url + base, retry_config=None)


@pytest.fixture(scope="module")
def keys(server):
    with client_of(server) as clerk:
        yield clerk.api_keys


def refused(status, code, call, **arguments):
    with pytest.raises(Exception) as caught:
        call(**arguments, retries=None)
    error = caught.value
    assert getattr(error, "status_code", None) == status, repr(error)
    first = error.data.errors[0]
    assert first.code == code
    assert first.message and first.long_message


def test_create_gives_the_whole_key_with_its_secret(keys):
    key = keys.create_api_key(
        name="whole", subject=USER, description="a remark", claims={"plan": "pro"}, scopes=["read"],
        created_by=USER, seconds_until_expiration=3600,
    )
    assert key.secret.startswith("ak_kr1")
    assert (key.name, key.subject, key.description, key.scopes) == ("whole", USER, "a remark", ["read"])
    assert key.claims == {"plan": "pro"}
    assert abs(key.expiration - key.created_at - 3_600_000) < 1000


def test_a_second_usable_key_of_the_name_is_refused(keys):
    keys.create_api_key(name="twice", subject=USER)
    refused(409, "token_creation_conflict", keys.create_api_key, name="twice", subject=USER)


def test_list_takes_decimal_numbers_and_is_newest_first(keys):
    subject = "user_list00000000000000000000000"
    for name in ("one", "two", "three"):
        keys.create_api_key(name=name, subject=subject)
    page = keys.get_api_keys(subject=subject)
    assert [key.name for key in page.data] == ["three", "two", "one"]
    assert page.total_count == 3
    page = keys.get_api_keys(subject=subject, limit=1, offset=1)
    assert [key.name for key in page.data] == ["two"]
    assert [key.name for key in keys.get_api_keys(subject=subject, query="thr").data] == ["three"]


def test_list_hides_revoked_keys_unless_asked(keys):
    subject = "user_hide00000000000000000000000"
    key = keys.create_api_key(name="gone", subject=subject)
    keys.revoke_api_key(api_key_id=key.id)
    assert keys.get_api_keys(subject=subject).total_count == 0
    assert keys.get_api_keys(subject=subject, include_invalid=IncludeInvalid.TRUE).total_count == 1


def test_get_and_update(keys):
    key = keys.create_api_key(name="change me", subject=USER, description="before", scopes=["read"])
    assert keys.get_api_key(api_key_id=key.id).name == "change me"
    changed = keys.update_api_key(api_key_id=key.id, description="after")
    assert (changed.description, changed.scopes) == ("after", ["read"])
    assert keys.update_api_key(api_key_id=key.id, description=None).description is None
    refused(404, "resource_not_found", keys.get_api_key, api_key_id="ak_" + "0" * 32)


def test_verify_then_revoke_with_a_reason_then_verify(keys):
    key = keys.create_api_key(name="revoke me", subject=USER)
    assert keys.verify_api_key(secret=key.secret).id == key.id
    assert keys.get_api_key(api_key_id=key.id).last_used_at is not None
    revoked = keys.revoke_api_key(api_key_id=key.id, revocation_reason="left")
    assert (revoked.revoked, revoked.revocation_reason) == (True, "left")
    refused(404, "resource_not_found", keys.verify_api_key, secret=key.secret)


def test_revoke_without_a_reason(keys):
    key = keys.create_api_key(name="no reason", subject=USER)
    assert keys.revoke_api_key(api_key_id=key.id).revocation_reason is None


def test_delete_and_get_secret(keys):
    key = keys.create_api_key(name="delete me", subject=USER)
    refused(404, "SECRET_NOT_STORED", keys.get_api_key_secret, api_key_id=key.id)
    assert keys.delete_api_key(api_key_id=key.id).DELETED is True
    refused(404, "resource_not_found", keys.verify_api_key, secret=key.secret)


def test_errors_are_typed(keys):
    refused(400, "bad_request", keys.create_api_key, name="", subject=USER)
    refused(400, "bad_request", keys.create_api_key, name="x", subject=USER, seconds_until_expiration=-1)


def test_a_wrong_management_secret_is_401(server):
    # The SDK has no type for this status on these routes: it raises its general error with the body in it.
    with client_of(server, secret="sk_test_wrong") as other, pytest.raises(SDKError) as caught:
        other.api_keys.get_api_key(api_key_id="ak_" + "0" * 32, retries=None)
    assert caught.value.status_code == 401
    assert "clerk_key_invalid" in caught.value.body


def test_verify_token(server, keys):
    key = keys.create_api_key(name="token", subject=USER)
    options = VerifyTokenOptions(secret_key=server.root_key, api_url=server.url)
    assert verify_token(key.secret, options)["subject"] == USER
    keys.revoke_api_key(api_key_id=key.id)
    with pytest.raises(TokenVerificationError):
        verify_token(key.secret, options)
