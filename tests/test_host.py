"""Limits of memory and processors, read from made-up ``/proc`` and ``/sys`` folders."""

import os

import pytest
from hostile import CASES, each
from hypothesis import strategies as st

from landscape import devices, host

GIB = 2**30
MEMINFO = f"MemTotal: {64 * GIB // 1024} kB\nMemAvailable:   {48 * GIB // 1024} kB\n"
STATUS = f"Name:\tpython\nVmPeak:\t 9999999 kB\nVmSize:\t{5 * GIB // 1024} kB\n"
UNLIMITED = 9223372036854771712  # what version 1 calls no limit
V2 = "41 31 0:38 {top} /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "35 31 0:32 {top} /sys/fs/cgroup/{name} rw,relatime - cgroup cgroup rw,{name}"


@pytest.fixture
def machine(tmp_path):
    """Write the files of a host, and of a control group each."""

    def write(files: dict[str, object], groups: str = "", mounts: str = "", address="unlimited"):
        proc = {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": groups,
            "proc/self/mountinfo": mounts,
            "proc/self/status": STATUS,
            "proc/self/limits": f"Max address space         {address}    unlimited    bytes\n",
        }
        for name, content in (proc | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n" if content != "" else "")
        return tmp_path

    return write


def v2(folder, limit, used, inactive=0, *, name="memory.max"):
    at = f"sys/fs/cgroup/{folder}"
    return {
        f"{at}/{name}": limit,
        f"{at}/memory.current": used,
        f"{at}/memory.stat": f"anon 7\ninactive_file {inactive // 2}\nactive_file {inactive // 2}",
    }


def v1(folder, limit, used, inactive=0):
    at = f"sys/fs/cgroup/memory/{folder}"
    return {
        f"{at}/memory.limit_in_bytes": limit,
        f"{at}/memory.usage_in_bytes": used,
        f"{at}/memory.stat": f"cache 7\ninactive_file 3\ntotal_inactive_file {inactive // 2}\n"
        f"total_active_file {inactive // 2}",
    }


def test_without_a_limit_it_is_what_the_host_has_free(machine):
    assert host.available_memory(machine({})) == 48 * GIB
    root = machine(v2("job", "max", GIB), "0::/job", V2.format(top="/"))
    assert host.available_memory(root) == 48 * GIB


def test_the_limit_of_a_control_group_counts_without_what_the_kernel_can_take_back(machine):
    root = machine(v2("job", 8 * GIB, 3 * GIB, GIB), "0::/job", V2.format(top="/"))
    assert host.available_memory(root) == 6 * GIB


def test_the_tightest_of_nested_control_groups_counts(machine):
    files = v2("slurm/job", 16 * GIB, 11 * GIB) | v2("slurm/job/step", "max", GIB)
    files |= v2("slurm", 32 * GIB, 2 * GIB)
    mounts = V2.format(top="/")
    assert host.available_memory(machine(files, "0::/slurm/job/step", mounts)) == 5 * GIB
    files = v2("slurm/job/step", 4 * GIB, GIB)
    assert host.available_memory(machine(files, "0::/slurm/job/step", mounts)) == 3 * GIB
    files = v2("slurm/job/step", 2 * GIB, GIB, name="memory.high")
    assert host.available_memory(machine(files, "0::/slurm/job/step", mounts)) == GIB


def test_the_limit_of_version_1_counts(machine):
    groups = "9:name=systemd:/job\n4:memory:/slurm/job\n1:cpu,cpuacct:/slurm/job\n0::/"
    mounts = "\n".join([V1.format(top="/", name="memory"), V2.format(top="/")])
    files = v1("slurm/job", 8 * GIB, 2 * GIB, GIB) | v1("", UNLIMITED, 20 * GIB)
    assert host.available_memory(machine(files, groups, mounts)) == 7 * GIB


@pytest.mark.parametrize(
    ("groups", "top"),
    [
        ("0::/", "/"),  # a namespace of its own
        ("0::/../other", "/"),  # of a process from outside of it
        ("0::/docker/4d", "/docker/4d"),  # no namespace: only the container's group is mounted
        ("0::/docker/4d", "/docker/other"),
    ],
)
def test_a_container_sees_its_own_group_as_the_root(machine, groups, top):
    root = machine(v2("", 4 * GIB, GIB), groups, V2.format(top=top))
    assert host.available_memory(root) == 3 * GIB


def test_a_limit_of_the_address_space_counts(machine):
    assert host.available_memory(machine({}, address=12 * GIB)) == 7 * GIB
    assert host.available_memory(machine({}, address=4 * GIB)) == 0  # nothing is left


def test_what_cannot_be_read_tells_nothing(machine, tmp_path):
    assert host.available_memory(tmp_path / "nothing") is None
    root = machine({"sys/fs/cgroup/job/memory.max": 8}, "0::/job", V2.format(top="/"))
    assert host.available_memory(root) == 48 * GIB  # a limit, and no usage


def test_processors_are_those_that_this_process_may_use(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert host.processors(machine({})) == 6
    files = {"sys/fs/cgroup/job/cpu.max": "250000 100000", "sys/fs/cgroup/cpu.max": "max 100000"}
    assert host.processors(machine(files, "0::/job", V2.format(top="/"))) == 3
    files = {"sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": -1,
             "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 50_000,
             "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": 100_000,
             "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100_000}  # fmt: skip
    root = machine(files, "1:cpu:/job", V1.format(top="/", name="cpu"))
    assert host.processors(root) == 1


def test_the_memory_of_a_cpu_is_that_of_the_host(monkeypatch):
    monkeypatch.setattr(host, "available_memory", lambda: 12345)
    assert devices.available_memory() == 12345


# Contents that these files have, and others.
WORDS = st.sampled_from(
    ["", "max", "-1", "0", "4096", str(UNLIMITED), "9" * 400, "max 100000", "50000 0", "kB", "٣",
     "0::/job", "0::/../..", "0::../../../etc", "4:memory,cpu:/job", "1:cpu:", "::",
     "inactive_file",
     "total_inactive_file 12", "VmSize: 5 kB", "Max address space  unlimited",
     "Max address space  7",
     "MemAvailable: 99 kB", "MemAvailable:", V2.format(top="/"), V2.format(top="/.."), V2[:30],
     V1.format(top="/", name="memory"), V1.format(top="/job", name="cpu"), "\x00", "a - b", " - "]
)  # fmt: skip
TEXT = st.lists(WORDS | st.text(max_size=20), max_size=4).map("\n".join)
FILES = [
    "proc/meminfo", "proc/self/cgroup", "proc/self/mountinfo", "proc/self/status",
    "proc/self/limits", *(f"sys/fs/cgroup/{folder}{name}" for folder in ("", "memory/", "cpu/job/")
                          for name in ("memory.max", "memory.current", "memory.stat", "cpu.max",
                                       "memory.limit_in_bytes", "cpu.cfs_quota_us"))
]  # fmt: skip


@CASES
def test_no_content_of_these_files_ends_in_an_error(times, tmp_path):
    def check(contents):
        for name, text in contents.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        free = host.available_memory(tmp_path)
        assert free is None or free >= 0
        assert 1 <= host.processors(tmp_path) <= os.cpu_count()

    each(st.dictionaries(st.sampled_from(FILES), TEXT, max_size=6), 100 * times, check)
