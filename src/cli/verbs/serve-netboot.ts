import { KubedosError } from "../../../shared/error.ts";
import { defaultSpecFile } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos serve-netboot` */
export function serveNetbootVerb() {
  return verb("serve-netboot", {
    summary: "install machines over the network from an artifact of the target netboot",
    description:
      "Answers machines whose `hardware.mac` is in the spec, until Ctrl-C: by DHCP (--range)\n" +
      "or beside another DHCP server (--proxy), TFTP and HTTP. They start the signed image\n" +
      "writer, which reads back what it has written before anything starts from it.\n" +
      "Other machines are listed and left alone. Needs root and dnsmasq.",
    examples: [
      [
        "serve-netboot out/lab/lab.netboot.tar --interface eth1 --range 10.99.0.100-10.99.0.199",
        "a rack on its own network",
      ],
      ["serve-netboot out/lab/lab.netboot.tar --interface eth0 --proxy", "beside the network's own DHCP server"],
      [
        "serve-netboot out/lab/lab.netboot.tar --interface eth1 --proxy --seeds words.txt --spec lab.yaml",
        "with the nodes' seeds",
      ],
    ],
  })
    .argument("<artifact>", "file of the target `netboot`")
    .requiredOption("--interface <name>", "network interface that the machines are on")
    .option("--range <first-last>", "addresses to give to the machines")
    .option("--proxy", "another server gives addresses")
    .option("--port <number>", "port of the HTTP server", "8080")
    .option(
      "--seeds [file]",
      "serve the seeds of all nodes, sealed to their TPMs (hardware.tpm), of nodes without by the passphrase in this file",
    )
    .option("--spec <file>", "the spec, for seeds", defaultSpecFile)
    .option("--passphrase-file <file>", "passphrase of the vault")
    .option("--identity <file...>", "age identity files that open the vault")
    .action(async (artifact, flags, self) => {
      await runVerb(self, async (context) => {
        const port = Number(flags.port);
        if (!Number.isInteger(port) || port < 1 || port > 65_535) {
          throw new KubedosError("usage", `--port ${flags.port} is no port`, {
            hint: "write a number from 1 to 65535",
          });
        }
        if ((flags.range === undefined) === (flags.proxy !== true)) {
          throw new KubedosError("usage", "say who gives addresses: --range, or --proxy", {
            hint: "--range FIRST-LAST where there is no other DHCP server, --proxy where there is one",
          });
        }
        const { serveNetboot } = await import("../../netboot/serve.ts");
        let seeds: Uint8Array | undefined;
        if (flags.seeds !== undefined) {
          const { openSeedSource } = await import("../../lifecycle/project.ts");
          const { readPassphrase, sealedSeeds } = await import("../../media/seeds.ts");
          const passphrase = await readPassphrase(flags.seeds);
          const vault = { passphraseFile: flags.passphraseFile, identities: flags.identity };
          seeds = await sealedSeeds(await openSeedSource(flags.spec, { vault }, context), passphrase);
        }
        const request = { artifact, interface: flags.interface, range: flags.range, port, seeds };
        const { installed, leftAlone } = await serveNetboot(request, context);
        const text = `installed: ${installed.join(", ") || "none"}; left alone: ${leftAlone.join(", ") || "none"}`;
        return { data: { installed, leftAlone }, text };
      });
    });
}
