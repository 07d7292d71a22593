"""URLs of sentinels: what is read from them, and what is refused without being repeated."""

import pytest

from cache.remote_cache import make_connection
from cache.sentinels.address import split_url
from cache.sentinels.connection import MasterConnection


def test_hosts_master_and_database_are_read() -> None:
    read = split_url("redis+sentinel://a.example:1234,[::1]:5,b/main/3")
    assert read.master == "main"
    assert read.redis.endswith(":6379/3")
    assert read.sentinels == ["redis://a.example:1234", "redis://[::1]:5", "redis://b:26379"]


def test_the_login_is_for_the_redis_and_the_options_are_for_the_sentinels() -> None:
    read = split_url(
        "rediss+sentinel://user:p%40ss@a/main?ssl_check_hostname=no&sentinel_password=o%3Aw"
    )
    assert read.redis.startswith("rediss://user:p%40ss@master.invalid:6379/0?")
    assert read.sentinels == ["rediss://:o%3Aw@a:26379?ssl_check_hostname=no"]


def test_a_connection_is_made_without_being_opened() -> None:
    assert isinstance(make_connection("redis+sentinel://a,b/main", "word"), MasterConnection)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://secret-host",
        "redis+sentinel://secret-host/",
        "redis+sentinel://secret host/main",
        "redis+sentinel://secret-host,/main",
        "redis+sentinel://secret-host:port/main",
        "redis+sentinel:///main",
        "redis+sentinel://secret-host/main/zero",
        "redis+sentinel://secret-host/main/0/1",
        "redis+sentinel://secret-host/main?nonsense=1",
        "http+sentinel://secret-host/main",
    ],
)
def test_a_malformed_url_is_refused_without_being_told(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as refused:
        make_connection(url)
    assert "secret" not in str(refused.value)


def test_a_password_is_given_once() -> None:
    with pytest.raises(ValueError, match="allowed one"):
        make_connection("redis+sentinel://:one@a/main", "two")
