"""What each Redis command can change, so that the server's own statistics tell what is to be brought back.

``INFO commandstats`` counts every command that was run, on whichever connection, in scripts, functions and
transactions too; a command that was refused is not counted and changed nothing. A name that is in none of the
groups below counts as able to change anything: what a future version or a module adds is never overlooked.
Before Redis 7 the subcommands of a container command are counted together, under its bare name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

#: Keys, of any logical database.
DATA = "data"
#: The server's settings, users, library functions, cached scripts, its primary; what DEBUG switches.
CONFIG, ACL, FUNCTIONS, SCRIPTS, REPLICATION, DEBUG = "config", "acl", "functions", "scripts", "replication", "debug"
#: A process that saves the data, while which no other one can be started.
SAVING = "saving"
#: A state of a connection that CLIENT LIST doesn't show.
HIDDEN = "hidden"
EVERYTHING = frozenset({DATA, CONFIG, ACL, FUNCTIONS, SCRIPTS, REPLICATION, DEBUG, SAVING, HIDDEN})

_NOTHING = """
    get mget strlen getrange substr lcs exists type ttl pttl expiretime pexpiretime keys scan dbsize randomkey dump
    touch object hget hmget hgetall hkeys hvals hlen hexists hstrlen hscan hrandfield httl hpttl hexpiretime
    hpexpiretime llen lrange lindex lpos scard smembers sismember smismember sscan srandmember sinter sunion sdiff
    sintercard zcard zcount zscore zmscore zrange zrangebyscore zrangebylex zrevrange zrevrangebyscore
    zrevrangebylex zrank zrevrank zscan zlexcount zrandmember zinter zunion zdiff zintercard xlen xrange xrevrange
    xread xpending xinfo getbit bitcount bitpos bitfield_ro geodist geohash geopos geosearch georadius_ro
    georadiusbymember_ro sort_ro publish spublish pubsub ping echo time info command lastsave lolwut role wait
    waitaof memory slowlog latency fcall fcall_ro config|get config|help config|resetstat acl|list acl|users
    acl|getuser acl|whoami acl|cat acl|genpass acl|dryrun acl|log acl|help function|list function|dump
    function|stats function|help script|exists script|help module|list module|help
    """
# CLIENT LIST shows what these leave behind, and every reset undoes CLIENT PAUSE.
_CONNECTION = """
    auth hello select client multi exec discard unwatch reset quit subscribe unsubscribe psubscribe punsubscribe
    ssubscribe sunsubscribe monitor readonly readwrite asking
    """
_DATA = """
    set setex psetex setnx mset msetnx getset getdel getex append setrange incr incrby incrbyfloat decr decrby
    del unlink copy rename renamenx move restore expire expireat pexpire pexpireat persist flushdb flushall swapdb
    sort hset hsetnx hmset hdel hincrby hincrbyfloat hexpire hpexpire hexpireat hpexpireat hpersist hgetdel hgetex
    hsetex lpush lpushx rpush rpushx lpop rpop lset lrem ltrim linsert lmove rpoplpush lmpop blpop brpop blmove
    brpoplpush blmpop sadd srem spop smove sinterstore sunionstore sdiffstore zadd zincrby zrem zremrangebyrank
    zremrangebyscore zremrangebylex zpopmin zpopmax zmpop bzpopmin bzpopmax bzmpop zrangestore zinterstore
    zunionstore zdiffstore xadd xtrim xdel xgroup xreadgroup xack xclaim xautoclaim xsetid setbit bitop bitfield
    pfadd pfcount pfmerge geoadd geosearchstore georadius georadiusbymember
    """
_OTHERS = {
    "eval evalsha eval_ro evalsha_ro script script|load script|flush script|kill": SCRIPTS,
    "function function|load function|delete function|flush function|restore function|kill": FUNCTIONS,
    "config config|set config|rewrite": CONFIG,
    "acl acl|setuser acl|deluser acl|load acl|save": ACL,
    "replicaof slaveof failover": REPLICATION,
    "debug": DEBUG,
    "save bgsave bgrewriteaof": SAVING,
    "watch client|reply": HIDDEN,
}
_GROUPS: dict[str, frozenset[str]] = dict.fromkeys(f"{_NOTHING} {_CONNECTION}".split(), frozenset())
_GROUPS |= dict.fromkeys(_DATA.split(), frozenset({DATA}))
_GROUPS |= {name: frozenset({group}) for names, group in _OTHERS.items() for name in names.split()}

_MIXED = ("config", "acl", "script", "function", "module")
_CONTAINERS = (*_MIXED, "slowlog", "latency")

_CALLS = re.compile(rb"^cmdstat_([^:\r\n]+):calls=(\d+)", re.MULTILINE)


def parse_calls(commandstats: bytes) -> dict[str, int]:
    """Return how often each command was run, by its name in lower case."""
    return {name.decode().lower(): int(calls) for name, calls in _CALLS.findall(commandstats)}


def changed(before: Mapping[str, int], after: Mapping[str, int]) -> frozenset[str]:
    """Return the groups that may have changed between two counts.

    A count that fell means that CONFIG RESETSTAT or a new start of the server wiped the counts: then anything may
    have changed. (A test that wipes them and then repeats each command that was ever run exactly as often as it
    was run is not found out.)
    """
    if any(after.get(name, 0) < calls for name, calls in before.items()):
        return EVERYTHING
    ran = {name for name, calls in after.items() if calls != before.get(name, 0)}
    groups = {group for name in ran for group in _group(name)}
    if CONFIG in groups:
        groups.add(DATA)  # a lower maxmemory evicts keys
    return frozenset(groups) if groups.isdisjoint((REPLICATION, DEBUG)) else EVERYTHING


def own_calls(commands: Iterable[tuple[Any, ...]], counts: Mapping[str, int]) -> Counter[str]:
    """Return what the commands add to the counts, of which ``counts`` shows how the server names them."""
    names: Counter[str] = Counter()
    for command in commands:
        name = str(command[0]).lower()
        subcommand = f"{name}|{command[1]}".lower() if name in _CONTAINERS else name
        names[subcommand if subcommand in counts else name] += 1
    return names


def _group(name: str) -> frozenset[str]:
    """``object|encoding`` is what ``object`` is, unless its container has subcommands of several groups."""
    container, _, subcommand = name.partition("|")
    if name not in _GROUPS and subcommand and container not in _MIXED:
        name = container
    return _GROUPS.get(name, EVERYTHING)
