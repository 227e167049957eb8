import { type Finding, formatPath, type Path } from "../finding.ts";
import { blobName, normaliseReference, parseReference } from "../image-reference.ts";
import { show } from "../issues.ts";
import { checkImageFile, checkMode } from "./platform.ts";
import type { Constraint } from "./types.ts";

/** Blobs have URLs, a hash wherever the way is not protected, and a place in the image that a file may have. */
export const blobs: Constraint = {
  name: "blobs",
  reads: ["platform.blobs"],
  check: ({ written }) =>
    written.platform.blobs.flatMap((blob, i): Finding[] => {
      const base: Path = ["platform", "blobs", i];
      const name = blob.name ?? blobName(blob.url);
      const urls: [Path, string][] = [
        [[...base, "url"], blob.url],
        ...blob.mirrors.map((url, k): [Path, string] => [[...base, "mirrors", k], url]),
      ];
      const findings = urls.flatMap(([path, url]) => checkUrl(path, url));
      if (findings.length === 0 && !/^[A-Za-z0-9][\w.+~@:-]*$/.test(name)) {
        const path = blob.name === undefined ? [...base, "url"] : [...base, "name"];
        const message = `\`${formatPath(path)}\` gives the name ${show(name)}`;
        findings.push({ path, message, hint: "write a `name` of letters, digits and . _ + - ~ @ :" });
      }
      if (blob.sha256 !== undefined && !/^[0-9a-f]{64}$/.test(blob.sha256)) {
        const path = [...base, "sha256"];
        const message = `\`${formatPath(path)}\` is ${show(blob.sha256)}, not a sha256`;
        findings.push({ path, message, hint: "write 64 lower-case hexadecimal digits, as `sha256sum` prints them" });
      }
      if (blob.sha256 === undefined) {
        for (const [path, url] of urls) {
          if (!url.startsWith("http:")) continue;
          const message = `\`${formatPath(path)}\` is plain http, and nothing says what the file must be`;
          findings.push({ path, message, hint: "add `sha256`, or use https" });
        }
      }
      if (blob.path !== undefined) findings.push(...checkImageFile([...base, "path"], blob.path));
      findings.push(...checkMode([...base, "mode"], blob.mode));
      return findings;
    }),
};

/** Images are named in full enough that the lock can find and pin them. */
export const images: Constraint = {
  name: "images",
  reads: ["platform.images"],
  check: ({ written }) =>
    written.platform.images.flatMap(({ reference }, i): Finding[] => {
      if (normaliseReference(reference) !== undefined) return [];
      const path = ["platform", "images", i, "reference"];
      if (parseReference(reference) !== undefined) {
        const message = `\`${formatPath(path)}\` is ${show(reference)}, without a tag or digest`;
        return [{ path, message, hint: `write e.g. \`${reference}:1.0\`; the lock pins its digest` }];
      }
      const message = `\`${formatPath(path)}\` is ${show(reference)}, not the name of an image`;
      return [{ path, message, hint: "write registry, repository and tag as in `registry.k8s.io/pause:3.10`" }];
    }),
};

/** Apt sources have names of their own, URLs without credentials, and a suite that fits their components. */
export const aptSources: Constraint = {
  name: "apt-sources",
  reads: ["platform.sources"],
  check: ({ written }) =>
    written.platform.sources.flatMap(({ name, urls, suite, components, key }, i): Finding[] => {
      const base: Path = ["platform", "sources", i];
      const findings = urls.flatMap((url, k) => checkUrl([...base, "urls", k], url, ["http:", "https:", "file:"]));
      const at = (field: string, message: string, hint: string) => {
        findings.push({ path: [...base, field], message: `\`${formatPath([...base, field])}\` ${message}`, hint });
      };
      if (name === "debian" || name === "debian-security") {
        at("name", `is ${show(name)}, which is Debian's own`, "give it another name");
      }
      const flat = suite.endsWith("/");
      if (!/^[A-Za-z0-9./][\w.+/-]*$/.test(suite) || suite.split("/").includes("..")) {
        at("suite", `is ${show(suite)}, not the name of a suite`, "write e.g. `stable`, or `/` for a flat repository");
      } else if (flat && components.length > 0) {
        at("components", "are given for a flat repository", "remove them, or write a suite without `/` at its end");
      } else if (!flat && components.length === 0) {
        at("suite", "has no components", "add e.g. `components: [main]`, or write a flat repository's suite as `/`");
      }
      for (const component of components.filter((one) => !/^[\w.+-]+(\/[\w.+-]+)*$/.test(one))) {
        at("components", `hold ${show(component)}`, "write words as in `main`");
      }
      if (!key.includes("-----BEGIN PGP PUBLIC KEY BLOCK-----") && (key.includes("\n") || key.trim() === "")) {
        at("key", "is neither an ASCII armored key nor the name of a file", "write the file's name, or the key's text");
      }
      if (key.includes("PRIVATE KEY BLOCK")) at("key", "holds a private key", "write the public key only");
      return findings;
    }),
};

function checkUrl(path: Path, text: string, protocols: readonly string[] = ["http:", "https:"]): Finding[] {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !protocols.includes(url.protocol)) {
    const hint = `write a URL that starts with ${protocols.map((one) => `\`${one}//\``).join(" or ")}`;
    return [{ path, message: `\`${formatPath(path)}\` is ${show(text)}, not a URL for it`, hint }];
  }
  if (url.username !== "" || url.password !== "") {
    const hint = "put credentials into ~/.netrc (apt's auth.conf for apt sources)";
    return [{ path, message: `\`${formatPath(path)}\` holds a user name or password`, hint }];
  }
  return [];
}
