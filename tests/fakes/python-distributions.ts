import { mkdir } from "node:fs/promises";
import { run } from "../../src/host/run.ts";

/**
 * Fills a directory for pip's find-links: `greeter` 1.0 as a source distribution, built by its own backend, which needs
 * `stamp`; it needs `helper` (wheel, 1.0 and 2.0) and `heavy`, which is nowhere. `dated` 1.0, of the same kind, has the year of its
 * building in it.
 */
export async function makeLinks(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  await run("python3", ["-c", script, directory]);
}

const script = `
import io, sys, tarfile, zipfile
out = sys.argv[1]

def wheel(name, version, files, extra=""):
    info = f"{name}-{version}.dist-info"
    files = {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n{extra}",
             f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"}
    with zipfile.ZipFile(f"{out}/{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"]))

for version in ("1.0", "2.0"):
    wheel("helper", version, {"helper.py": f"version = '{version}'\\n", f"helper-{version}.data/scripts/helper": "#!python\\nimport helper\\nprint(helper.version)\\n"})
wheel("stamp", "1.0", {"stamp.py": "text = 'stamped'\\n"})

backend = '''
import os, zipfile
import stamp

def get_requires_for_build_wheel(config_settings=None):
    return []

def build_wheel(directory, config_settings=None, metadata_directory=None):
    info = "greeter-1.0.dist-info"
    files = {
        "greeter/__init__.py": "import helper\\\\ndef main():\\\\n    print('hello from helper', helper.version, '%s')\\\\n" % stamp.text,
        info + "/METADATA": "Metadata-Version: 2.1\\\\nName: greeter\\\\nVersion: 1.0\\\\nRequires-Dist: helper>=1.5\\\\nRequires-Dist: heavy\\\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\\\nGenerator: test\\\\nRoot-Is-Purelib: true\\\\nTag: py3-none-any\\\\n",
        info + "/entry_points.txt": "[console_scripts]\\\\ngreet = greeter:main\\\\n",
    }
    name = "greeter-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(info + "/RECORD", "")
    return name
'''
dated = '''
import os, time, zipfile

def get_requires_for_build_wheel(config_settings=None):
    return []

def build_wheel(directory, config_settings=None, metadata_directory=None):
    info = "dated-1.0.dist-info"
    files = {
        "dated.py": time.strftime("year = %Y\\\\n"),
        info + "/METADATA": "Metadata-Version: 2.1\\\\nName: dated\\\\nVersion: 1.0\\\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\\\nGenerator: test\\\\nRoot-Is-Purelib: true\\\\nTag: py3-none-any\\\\n",
    }
    name = "dated-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(info + "/RECORD", "")
    return name
'''

def sdist(name, backend, requires):
    project = f'[build-system]\\nrequires = {requires}\\nbuild-backend = "backend"\\nbackend-path = ["."]\\n[project]\\nname = "{name}"\\nversion = "1.0"\\n'
    with tarfile.open(f"{out}/{name}-1.0.tar.gz", "w:gz") as archive:
        for path, text in {"pyproject.toml": project, "backend.py": backend, "PKG-INFO": f"Metadata-Version: 1.0\\nName: {name}\\nVersion: 1.0\\n"}.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))

sdist("greeter", backend, '["stamp>=1"]')
sdist("dated", dated, "[]")
`;
