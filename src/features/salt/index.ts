import { enrollPort } from "../../../shared/enroll.ts";
import { saltPorts } from "../../../shared/salt.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import { textFile, unitFile } from "../files.ts";
import type { Assets, Feature, ImageFile } from "../types.ts";

/** Where Salt is installed: a virtual environment of its own. */
const prefix = "/usr/lib/kubedos/salt";

/** What Salt's master and minion import, from Debian: its security updates come with the lock's. */
const libraries = [
  "python3",
  "python3-cryptography",
  "python3-distro",
  "python3-jinja2",
  "python3-jmespath",
  "python3-looseversion",
  "python3-msgpack",
  "python3-packaging",
  "python3-psutil",
  "python3-requests",
  "python3-setproctitle",
  "python3-tornado",
  "python3-xxhash",
  "python3-yaml",
  "python3-zmq",
] as const;

/** Distributions that Salt names and that are Debian's here, or belong to parts that no node uses (cloud, web, ssh). */
const optional = [
  "aiohttp",
  "apache-libcloud",
  "attrs",
  "certifi",
  "cffi",
  "charset-normalizer",
  "cheroot",
  "cherrypy",
  "contextvars",
  "croniter",
  "cryptography",
  "distro",
  "filelock",
  "frozenlist",
  "gitpython",
  "idna",
  "immutables",
  "importlib-metadata",
  "jaraco-context",
  "jaraco-functools",
  "jaraco-text",
  "jinja2",
  "jmespath",
  "looseversion",
  "lxml",
  "markupsafe",
  "more-itertools",
  "msgpack",
  "multidict",
  "opentelemetry-api",
  "opentelemetry-exporter-otlp-proto-http",
  "opentelemetry-exporter-prometheus",
  "opentelemetry-sdk",
  "packaging",
  "psutil",
  "pyasn1",
  "pycparser",
  "pycryptodomex",
  "pymssql",
  "pyopenssl",
  "python-dateutil",
  "python-gnupg",
  "pythonnet",
  "pywin32",
  "pyyaml",
  "pyzmq",
  "requests",
  "setproctitle",
  "timelib",
  "tornado",
  "truststore",
  "urllib3",
  "virtualenv",
  "wmi",
  "xmltodict",
  "xxhash",
  "zipp",
] as const;

/** Commands that people use by hand. */
const commands = ["salt", "salt-call", "salt-cp", "salt-key", "salt-run"] as const;

/** Files of node/salt that go to /usr/share/kubedos/salt as they are. */
const shared = [
  "config/autoreject",
  "pillar/kubedos.sls",
  "pillar/top.sls",
  "states/kubedos/init.sls",
  "states/top.sls",
] as const;

// sysusers.d(5). What the enrollment keeps on the state partition belongs to the same number in every image.
const sysusers = [
  'u salt 902 "Salt master" /var/cache/salt-master',
  'u kubedos-enroll 903 "kubedos enrollment" /var/lib/kubedos-enroll',
  "",
].join("\n");

/**
 * Salt: a master on every hub, bound to the control plane, a minion on every node. Keys come from the keyring
 * or, in enrollment mode `join`, from the nodes; nobody is accepted that the cluster layer does not name.
 */
export const feature = {
  name: "salt",
  summary: "Salt: a master on every hub, a minion on every node, keys known beforehand",
  needs: featureNeeds.salt,
  packages: () => [...libraries],
  wheels: () => [{ prefix, requirements: ["salt==3008.5"], without: [...optional] }],
  files: (_spec, assets) => [
    textFile("/etc/salt/master", assets("node/salt/config/master")),
    textFile("/etc/salt/minion", assets("node/salt/config/minion")),
    ...shared.map((path) => textFile(`/usr/share/kubedos/salt/${path}`, assets(`node/salt/${path}`))),
    textFile("/usr/lib/kubedos/salt-keys", assets("node/salt/kubedos-salt-keys"), 0o755),
    textFile("/usr/lib/kubedos/enroll.cjs", assets("dist/enroll.cjs")),
    textFile("/usr/lib/sysusers.d/kubedos-salt.conf", sysusers),
    ...commands.map(wrapper),
    ...units(assets),
  ],
  units: {
    enable: [
      "kubedos-enroll.service",
      "kubedos-join.service",
      "kubedos-salt-accept.path",
      "salt-master.service",
      "salt-minion.service",
    ],
    mask: [],
  },
  sysctls: {},
  modules: [],
  openings: [saltOpening("salt-publish", saltPorts.publish), saltOpening("salt-request", saltPorts.request)],
  specOpenings: ({ platform }) => (platform.salt.enrollment === "join" ? [saltOpening("enroll", enrollPort)] : []),
  gates: ["enrollment"],
  default: false,
} satisfies Feature;

function saltOpening(service: string, port: number): Feature["openings"][number] {
  return { service, plane: "control", protocol: "tcp", port, from: ["nodes"], roles: ["hub"] };
}

function units(assets: Assets): ImageFile[] {
  return [
    "kubedos-enroll.service",
    "kubedos-join.service",
    "kubedos-salt-accept.path",
    "kubedos-salt-accept.service",
    "kubedos-salt-ping.service",
    "salt-master.service",
    "salt-minion.service",
  ].map((name) => unitFile(assets, name));
}

/** Salt's commands are for root: for an operator they go through sudo. */
function wrapper(command: string): ImageFile {
  const text = `#!/bin/sh
[ "$(id -u)" = 0 ] || exec sudo -- "$0" "$@"
exec ${prefix}/bin/${command} "$@"
`;
  return textFile(`/usr/bin/${command}`, text, 0o755);
}
