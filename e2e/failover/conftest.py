"""The failover tests use the nodes, the load and the checker of the fault tests. They need root, Patroni and etcd."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "faults")]
