"""The bill of materials of a release, beside its wheel: `python -m hydra_ml.io.sbom dist`.

Says what `make setup` installs: packages of requirements.lock as they are installed here, with the digests of
requirements-hashed.lock and the licence that each one's own metadata states. CycloneDX 1.6, JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from hydra_ml.errors import DataError, HydraError
from hydra_ml.io.files import atomic_path, save_json

LOCK, HASHED = Path("requirements.lock"), Path("requirements-hashed.lock")
OWN = "hydra-ml"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")


@dataclass(frozen=True)
class Package:
    """One that is installed."""

    name: str
    version: str
    licence: str  # as its metadata states it; "not stated"
    digests: tuple[str, ...] = ()  # sha256 of every file the index has of it; () for those without

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{normal(self.name)}@{self.version}"


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(lock: Path) -> dict[str, str]:
    """Versions by normal name, in the file's order. Raises DataError if there is no such file."""
    try:
        lines = lock.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{lock}: no such file. Run this in the project's folder.") from None
    return {normal(found[1]): found[2] for line in lines if (found := _PIN.match(line))}


def read_digests(hashed: Path) -> dict[str, tuple[str, ...]]:
    """The sha256 digests of each pinned package, by normal name. Raises DataError if there is no such file."""
    read_pins(hashed)
    digests: dict[str, list[str]] = {}
    name = ""
    for line in hashed.read_text("utf-8").splitlines():
        if found := _PIN.match(line):
            name = normal(found[1])
        if name:
            digests.setdefault(name, []).extend(re.findall(r"sha256:([0-9a-f]{64})", line))
    return {name: tuple(found) for name, found in digests.items()}


def installed_packages(lock: Path = LOCK, hashed: Path = HASHED) -> list[Package]:
    """What the lock pins and this environment has, by name; pins for other machines are left out. Raises DataError if
    an installed version is not the pinned one."""
    digests, packages = read_digests(hashed), []
    for name, pinned in read_pins(lock).items():
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform or Python
        if found.version.partition("+")[0] != pinned:
            raise DataError(f"{name} {found.version} is installed, {lock} pins {pinned}. Run `make setup` first.")
        packages.append(Package(found.metadata["Name"], found.version, stated_licence(found), digests.get(name, ())))
    return sorted(packages, key=lambda package: normal(package.name))


def stated_licence(package: Distribution) -> str:
    """The licence in a package's metadata: its expression, else its classifiers, else the first line of the field."""
    stated = (package.metadata.get_all("License-Expression") or [""])[0]
    if stated:
        return str(stated)
    classes = [line.split(" :: ")[-1] for line in package.metadata.get_all("Classifier") or [] if "License ::" in line]
    if classes := [name for name in classes if name != "OSI Approved"]:
        return "; ".join(classes)
    return (package.metadata.get_all("License") or [""])[0].strip().partition("\n")[0][:80] or "not stated"


def bill_of_materials(own: Package, packages: list[Package]) -> dict[str, Any]:
    """The CycloneDX document; the same packages give the same document."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**_component(own), "type": "application"}},
        "components": [_component(package) for package in packages],
        "dependencies": [{"ref": own.purl, "dependsOn": [package.purl for package in packages]}],
    }


def _component(package: Package) -> Mapping[str, Any]:
    found: dict[str, Any] = {"type": "library", "bom-ref": package.purl, "name": package.name}
    found |= {"version": package.version, "purl": package.purl}
    found["licenses"] = [{"license": {"name": package.licence}}]
    if package.digests:  # of the files it may have been installed from: which one depends on the machine
        found["properties"] = [{"name": "hydra-ml:sha256", "value": digest} for digest in package.digests]
    return found


def main(argv: list[str] | None = None) -> int:
    """Write sbom.cdx.json, licences.txt and SHA256SUMS into a folder that holds the wheel; 1 with a message if it
    cannot."""
    parser = argparse.ArgumentParser(prog="python -m hydra_ml.io.sbom", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    try:
        own, packages = distribution(OWN), installed_packages()
    except HydraError as error:
        print(f"sbom: {error}", file=sys.stderr)
        return error.exit_code
    save_json(bill_of_materials(Package(OWN, own.version, stated_licence(own)), packages), folder / "sbom.cdx.json")
    with atomic_path(folder / "licences.txt") as partial:
        partial.write_text("".join(f"{one.name} {one.version}: {one.licence}\n" for one in packages), "utf-8")
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    with atomic_path(folder / "SHA256SUMS") as partial:
        sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
        partial.write_text("".join(sums), "utf-8")
    print(f"{folder}: {', '.join(names)}, SHA256SUMS; {len(packages)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
