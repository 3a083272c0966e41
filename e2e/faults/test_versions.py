"""Every supported major version of Postgres: killed during revocations, it has lost none that was answered.

The oldest and the newest version run by default; scripts/postgres-versions runs all.
"""
import os
import threading

import pytest
from history import DENIED
from load import Asker, Load
from test_database import until
from topology import Postgres, World

VERSIONS = os.environ.get("KEYREEVE_POSTGRES_VERSIONS", "14 18").split()
KILLS = 3
KEYS = 24


@pytest.mark.parametrize("version", VERSIONS)
def test_a_database_killed_during_revocations_has_lost_none_that_was_answered(version):
    postgres = Postgres(version=version)
    world = World(postgres, nodes=2)
    try:
        assert world.sql("SHOW server_version").split(".")[0] == version
        with Load(world) as load:
            for _ in range(KILLS):
                revoked = revoke_while_it_is_killed(world, postgres, load)
                states = world.sql("SELECT encode(id, 'hex') FROM keys WHERE state = 'revoked'").split()
                assert {key["id"][3:] for key in revoked} <= set(states), "a revocation that was answered is lost"
                for key in revoked:
                    until(lambda key=key: set(load.ask_all(key).values()) == {DENIED}, 15, key["id"])
                load.keys.clear()
        status, check = world.nodes[0].call("POST", "/v1/audit/verify", {})
        assert status == 200 and check["ok"], check
    finally:
        world.close()
        postgres.close()


def revoke_while_it_is_killed(world, postgres, load):
    """Returns the keys whose revocation was answered. The server is killed in the middle, and started again."""
    keys = load.issue(world.nodes[0], KEYS)
    answered, half = [], threading.Event()

    def revoke(node, own):
        for key in own:
            # After the kill, a revocation is refused or its outcome is unknown; it is repeated until it is answered.
            until(lambda key=key: load.revoke(node, key)[0] == 200, 30, node.log())
            answered.append(key)
            if len(answered) >= KEYS // 4:
                half.set()

    threads = [threading.Thread(target=revoke, args=(node, keys[place::2])) for place, node in enumerate(world.nodes)]
    for thread in threads:
        thread.start()
    assert half.wait(30)
    postgres.kill()
    postgres.start()
    for thread in threads:
        thread.join()
    assert len(answered) == KEYS
    for node in world.nodes:
        until(lambda node=node: Asker(node, load.history).ask(keys[0]).result == DENIED, 15, node.log())
    return answered
