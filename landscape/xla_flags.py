"""A flag for XLA where the compiler of a jaxlib version is known to give wrong results.

JAX reads ``XLA_FLAGS`` when its backend starts, that is at the first computation.
:func:`append_needed_flag` is called by ``import landscape`` and appends what the installed version
needs. XLA aborts on flags that it does not know, so a version is in :data:`KNOWN_BAD` only if it
was tried.

XLA:CPU of the versions in the table hands reductions to YNNPACK, whose fused kernels are wrong for
some shapes. Tried on x86-64 (2 cores, Linux) in November 2026, in float32 and float64, each program
compared with NumPy in float64; with ``--xla_cpu_experimental_ynn_fusion_type`` set to
``individual_convolution`` every one of them was right to rounding, in every version:

=======================  ================  =====================  ============  ===========  =======
jaxlib                   last of many      product with a         pool with     factors of   flag
                         rows (39103)      broadcast matrix       holes         seven axes
=======================  ================  =====================  ============  ===========  =======
0.8.0                    right             right                  right         right        unknown
0.9.2, 0.10.0, 0.10.1    right             right                  right         right        known
0.10.2                   wrong             wrong                  wrong         crash        known
0.11.0                   right             wrong                  wrong         eight: crash known
0.11.1, 0.11.2           right             wrong                  wrong         right        known
0.12.0, 0.12.0.1         right             wrong                  wrong         right        known
=======================  ================  =====================  ============  ===========  =======

39103 is an issue of jax-ml/jax, as are the crashes, 40412 and 39257; the pool is openxla/xla 48714.
The programs are in :mod:`landscape.doctor.programs`.
"""

import os
import sys
import warnings
from importlib import metadata
from pathlib import Path

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
VALUE = "individual_convolution"
KNOWN_BAD = ("0.10.2", "0.11.0", "0.11.1", "0.11.2", "0.12.0", "0.12.0.1")

# Set to 1 it keeps XLA_FLAGS as they are.
KEEP = "LANDSCAPE_KEEP_XLA_FLAGS"


def jaxlib_version() -> str:
    """The installed version of jaxlib; empty if there is none. Does not import it."""
    try:
        return metadata.version("jaxlib")
    except metadata.PackageNotFoundError:
        return ""


def in_force() -> list[str]:
    """The flags of ``XLA_FLAGS`` or of the file that it names, sorted.

    Without :data:`FLAG` where the backend runs and XLA says that it does not know of it.
    """
    flags = _flags()
    late = _too_late(flags)
    return sorted(flag for flag in flags.split() if not (late and flag.startswith(FLAG)))


def is_known_bad(version: str | None = None) -> bool:
    """Whether the compiler of a version of jaxlib (the installed one) is known to be wrong."""
    return (jaxlib_version() if version is None else version) in KNOWN_BAD


def append_needed_flag() -> None:
    """Append the flag that the installed jaxlib needs to ``XLA_FLAGS``, once.

    What the user set stays in front of it, and the flag itself is left alone if it is set. Child
    processes inherit it. Where it would come or came too late, because the backend runs already, or
    cannot be appended, because ``XLA_FLAGS`` names a file, a warning says what to do.
    """
    if os.environ.get(KEEP) == "1" or not is_known_bad() or not _on_cpu():
        return
    named, flags, flag = os.environ.get("XLA_FLAGS", "").strip(), _flags(), f"{FLAG}={VALUE}"
    if _backend_runs():
        on_cpu = sys.modules["jax"].default_backend() == "cpu"
        if on_cpu and (FLAG not in flags or _too_late(flags)):
            _warn(f"import landscape before the first computation, or set XLA_FLAGS={flag}", flag)
    elif FLAG in flags:
        return
    elif named and not named.startswith("-"):
        _warn(f"XLA_FLAGS names the file {named}; add {flag} to it", flag)
    else:
        os.environ["XLA_FLAGS"] = f"{named} {flag}".strip()


def _flags() -> str:
    """``XLA_FLAGS``; where it does not begin with a hyphen, XLA reads the file of that name."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if not flags or flags.startswith("-"):
        return flags
    try:
        return Path(flags).read_text()
    except (OSError, UnicodeError):
        return ""


def _too_late(flags: str) -> bool:
    """Whether the flag was set after XLA had read its flags, by the options that XLA compiles with.

    They are read from outside of JAX's public interface: False where they cannot be.
    """
    ours = [flag for flag in flags.split() if flag.startswith(FLAG)]
    if not ours or "reduce" in ours[-1] or not _backend_runs():
        return False
    try:
        from jax._src.lib import xla_client

        options = xla_client.CompileOptions()
        build = options.executable_build_options  # kept: what it holds dies with it
        return "FUSION_TYPE_REDUCE" in repr(build.debug_options)
    except (ImportError, AttributeError):
        return False


def _warn(remedy: str, flag: str) -> None:
    warnings.warn(
        f"jaxlib {jaxlib_version()} compiles some reductions for CPUs wrongly (jax issue 39103) "
        f"and runs without {flag}: {remedy}; `analysis_cli.py doctor` checks",
        stacklevel=4,
    )


def _on_cpu() -> bool:
    """Whether JAX may compute on the CPU, without starting it."""
    jax = sys.modules.get("jax")
    platforms = jax.config.jax_platforms if jax else os.environ.get("JAX_PLATFORMS")
    return not platforms or "cpu" in platforms


def _backend_runs() -> bool:
    bridge = sys.modules.get("jax._src.xla_bridge")
    started = getattr(bridge, "backends_are_initialized", None)
    return bool(started and started())
