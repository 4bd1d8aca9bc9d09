"""`python -m benchmarks.peers`: how fast and how heavily each process manager runs N sleeping processes."""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.circus_peer import CircusPeer
from benchmarks.harness import Peer, compare
from benchmarks.outlive_peer import OutliveOnTmpfs, OutlivePeer
from benchmarks.pm2_peer import Pm2Peer
from benchmarks.popen_peer import PopenPeer
from benchmarks.s6_peer import S6Peer
from benchmarks.supervisor_peer import SupervisorPeer

PEERS: dict[str, Callable[[], Peer]] = {
    peer.name: peer
    for peer in (OutlivePeer, OutliveOnTmpfs, PopenPeer, S6Peer, SupervisorPeer, CircusPeer, Pm2Peer)
}


def main() -> None:
    """Measure, print the table, and write the JSON document where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="sleepers for each peer")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each peer; medians are reported")
    parser.add_argument("--baseline", default="s6", choices=PEERS, help="the peer that ratios are taken to")
    parser.add_argument(
        "--peer", action="append", choices=PEERS, help="only these; may be given more than once"
    )
    parser.add_argument("--json", type=Path, help="also write everything here")
    arguments = parser.parse_args()
    chosen = [PEERS[name] for name in arguments.peer or PEERS]
    report = compare(chosen, arguments.count, arguments.rounds, arguments.baseline)
    if arguments.json:
        arguments.json.write_text(report.as_json() + "\n", encoding="utf-8")
    print(report.as_text())


if __name__ == "__main__":
    main()
