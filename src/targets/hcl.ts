/**
 * HCL as data, written in either of its syntaxes: the native one in its canonical format, and JSON.
 *
 * @see https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md, https://developer.hashicorp.com/terraform/language/syntax/json
 */

/** An expression, as HCL writes it: `var.image`. In JSON it is a template that holds nothing else. */
export interface Expression {
  expression: string;
}
/** A word that is no value: the type of a variable. In JSON it is a plain string. */
export interface Keyword {
  keyword: string;
}
/** Strings are templates: `${…}` in them is an expression. */
export type Value = string | number | boolean | Expression | Keyword | readonly Value[] | { [key: string]: Value };

export interface Block {
  type: string;
  labels: readonly string[];
  body: Body;
}

/** Attributes and blocks; more than one block of a type in a body is a list of them. */
export interface Body {
  attributes?: Record<string, Value>;
  blocks?: readonly Block[];
}

/** A block of a body. */
export function block(type: string, labels: readonly string[], body: Body | Record<string, Value>): Block {
  return { type, labels, body: isBody(body) ? body : { attributes: body } };
}

/** `var.NAME` and the like. */
export function expression(text: string): Expression {
  return { expression: text };
}

export function keyword(text: string): Keyword {
  return { keyword: text };
}

function isBody(body: Body | Record<string, Value>): body is Body {
  return "attributes" in body || "blocks" in body;
}

/** The native syntax, formatted as `terraform fmt` and `packer fmt` do. */
export function hclText(body: Body): string {
  return `${bodyLines(body).join("\n")}\n`;
}

function bodyLines({ attributes = {}, blocks = [] }: Body): string[] {
  const lines = attributeLines(Object.entries(attributes));
  for (const { type, labels, body } of blocks) {
    if (lines.length > 0) lines.push("");
    const head = [type, ...labels.map(quote)].join(" ");
    const inner = bodyLines(body);
    if (inner.length === 0) lines.push(`${head} {}`);
    else lines.push(`${head} {`, ...inner.map(indent), "}");
  }
  return lines;
}

/** Attributes that follow each other on lines of their own have their signs in one column. */
function attributeLines(attributes: readonly (readonly [string, Value])[]): string[] {
  const rendered = attributes.map(([name, value]) => ({ name, lines: valueLines(value) }));
  return rendered.flatMap(({ name, lines: [first = "", ...more] }, index) => {
    if (more.length > 0) return [`${name} = ${first}`, ...more];
    let [start, end] = [index, index];
    while (start > 0 && rendered[start - 1]!.lines.length === 1) start--;
    while (end + 1 < rendered.length && rendered[end + 1]!.lines.length === 1) end++;
    const width = Math.max(...rendered.slice(start, end + 1).map((one) => one.name.length));
    return [`${name.padEnd(width)} = ${first}`];
  });
}

function valueLines(value: Value): string[] {
  if (typeof value === "string") return [quote(value)];
  if (typeof value !== "object") return [String(value)];
  if (isExpression(value)) return value.expression.split("\n");
  if (isKeyword(value)) return [value.keyword];
  if (isList(value)) {
    const items = value.map(valueLines);
    const line = `[${items.map((lines) => lines.join(" ")).join(", ")}]`;
    if (items.every((lines) => lines.length === 1) && line.length < 100) return [line];
    return ["[", ...items.flatMap((lines) => withComma(lines).map(indent)), "]"];
  }
  const entries = Object.entries(value).map(
    ([key, item]) => [/^[A-Za-z_]\w*$/.test(key) ? key : quote(key), item] as const,
  );
  return entries.length === 0 ? ["{}"] : ["{", ...attributeLines(entries).map(indent), "}"];
}

function withComma(lines: readonly string[]): string[] {
  return [...lines.slice(0, -1), `${lines.at(-1)!},`];
}

function isExpression(value: object): value is Expression {
  return "expression" in value;
}

function isKeyword(value: object): value is Keyword {
  return "keyword" in value;
}

function isList(value: object): value is readonly Value[] {
  return Array.isArray(value);
}

function indent(line: string): string {
  return line === "" ? "" : `  ${line}`;
}

function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}

/** The JSON syntax, as Terraform reads it from files that end in `.tf.json`. */
export function jsonText(body: Body): string {
  return `${JSON.stringify(jsonBody(body), undefined, 2)}\n`;
}

function jsonBody({ attributes = {}, blocks = [] }: Body): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(attributes)) result[name] = jsonValue(value);
  for (const { type, labels, body } of blocks) {
    // A label is one more level of nesting; several blocks with the same labels are a list.
    let at = result;
    const path = [type, ...labels];
    for (const step of path.slice(0, -1)) at = (at[step] ??= {}) as Record<string, unknown>;
    const last = path.at(-1)!;
    const content = jsonBody(body);
    const known = at[last];
    at[last] = known === undefined ? content : [...(Array.isArray(known) ? (known as unknown[]) : [known]), content];
  }
  return result;
}

function jsonValue(value: Value): unknown {
  if (typeof value !== "object") return value;
  if (isExpression(value)) return `\${${value.expression}}`;
  if (isKeyword(value)) return value.keyword;
  if (isList(value)) return value.map(jsonValue);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, jsonValue(item)]));
}
