import { expect, test } from "vitest";
import { parseIndexPage } from "./python-index.ts";

const base = new URL("https://index.example.org/simple/salt/");
const sha256 = "0259deafd601d783721e5aa8ed10677d8c4d6cc12f5de17499af71590d593315";

test("the HTML page of an index (PEP 503): relative, quoted and escaped references, hashes and none", () => {
  const html = `<!DOCTYPE html><html><body>
    <a href="../../files/salt-3008.5.tar.gz#sha256=${sha256}" data-requires-python="&gt;=3.8">salt-3008.5.tar.gz</a><br/>
    <A class=x HREF='https://files.example.org/a%2Bb-1.0+local-py3-none-any.whl?x=1&amp;y=2'>a+b</A>
    <a href="http://[broken">no URL</a>
    <a name="top">no reference</a></body></html>`;
  expect(parseIndexPage(html, "text/html; charset=utf-8", base)).toEqual([
    { filename: "salt-3008.5.tar.gz", url: "https://index.example.org/files/salt-3008.5.tar.gz", sha256 },
    {
      filename: "a+b-1.0+local-py3-none-any.whl",
      url: "https://files.example.org/a%2Bb-1.0+local-py3-none-any.whl?x=1&y=2",
      sha256: undefined,
    },
  ]);
});

test("the JSON page of an index (PEP 691)", () => {
  const files = [
    { filename: "salt-3008.5.tar.gz", url: "/files/salt-3008.5.tar.gz", hashes: { sha256 }, yanked: false },
    { filename: "salt-1.zip", url: "https://files.example.org/salt-1.zip", hashes: { md5: "0" } },
  ];
  const text = JSON.stringify({ meta: { "api-version": "1.1" }, name: "salt", files });
  expect(parseIndexPage(text, "application/vnd.pypi.simple.v1+json", base)).toEqual([
    { filename: "salt-3008.5.tar.gz", url: "https://index.example.org/files/salt-3008.5.tar.gz", sha256 },
    { filename: "salt-1.zip", url: "https://files.example.org/salt-1.zip", sha256: undefined },
  ]);
});
