import { specJsonSchema } from "./schema.ts";

/** The parts of JSON Schema that zod writes for the spec. */
interface JsonSchema {
  type?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
}

const introduction = `# The spec: \`cluster.yaml\`

Generated from the schema (\`src/spec/schema.ts\`); \`npx vitest run src/spec -u\` writes it anew.

One YAML 1.2 file describes one cluster. The least that is a spec:

\`\`\`yaml
apiVersion: kubedos/v1
metadata:
  name: lab
nodes:
  - { name: hub, role: hub }
\`\`\`

\`kubedos check FILE\` prints all problems at once, each with its place and what to write instead. Editors that speak
JSON Schema get completion from \`docs/spec.schema.json\` (\`kubedos schema\` prints it).

## How addresses come about
- Each node has an **index**. Written indexes are kept; the others get the lowest free numbers, listed nodes first, then
  pools. Write \`index\` (pools: \`firstIndex\`) where a node may later be inserted or removed above another.
- Address on a **plane**: network + index. Operators have addresses from the end of the control plane: the last usable
  one is slot 1.
- Address on the **underlay**, where none is written: network + 10 + index.
- A plane's **port**, where none is written: 51820 + position of the plane. Its **MTU**: that of the underlay − 80.

## What is checked besides types
Networks: well-formed, no host bits, no overlap among underlay, planes, pods and services, room for every node and
operator. Nodes: unique names, indexes and addresses; at least one hub; an odd number of core nodes; RFC 1123 names. A
full mesh has at most 1,000 nodes. Exactly one plane is the control plane. Features come with those they need. Ports do
not clash with the system's. Gates can be met. What destroys is said twice (\`policy.allowDestroy\`). Extra files stay
out of /proc, /sys, /dev, /run, /tmp and the boot chain, and hold no private keys.

## Fields
`;

/** The reference of all fields as Markdown: `docs/spec.md`. */
export function specReference(): string {
  const sections: string[] = [];
  const root = specJsonSchema() as JsonSchema;
  collect(root, "", sections);
  return `${introduction}\n${sections.join("\n")}`;
}

/** One section a map, in the order of the schema: the map's own fields, then its maps. */
function collect(schema: JsonSchema, path: string, sections: string[]): void {
  const fields = Object.entries(schema.properties ?? {});
  const title = path === "" ? "Top level" : `\`${path}\``;
  const rows = fields.map(([name, field]) => row(name, field, schema.required?.includes(name) ?? false));
  sections.push(
    [
      `### ${title}`,
      schema.description ?? "",
      "",
      "| field | type | default | meaning |",
      "|---|---|---|---|",
      ...rows,
      "",
    ].join("\n"),
  );
  for (const [name, field] of fields) {
    const inner = path === "" ? name : `${path}.${name}`;
    if (field.properties !== undefined) collect(field, inner, sections);
    if (field.items?.properties !== undefined) collect(field.items, `${inner}[]`, sections);
  }
}

function row(name: string, field: JsonSchema, required: boolean): string {
  const cells = [`\`${name}\``, typeOf(field), required ? "required" : defaultOf(field), field.description ?? ""];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function typeOf(field: JsonSchema): string {
  if (field.const !== undefined) return `\`${JSON.stringify(field.const)}\``;
  if (field.enum !== undefined) return field.enum.map((value) => `\`${String(value)}\``).join(", ");
  if (field.type === "array") return `list of ${field.items === undefined ? "values" : typeOf(field.items)}`;
  if (field.type === "object") return "map";
  if (field.type === "integer") return `${field.minimum} – ${field.maximum}`;
  if (field.type === "string") return "text";
  return field.type === "boolean" ? "`true`, `false`" : (field.type ?? "");
}

function defaultOf(field: JsonSchema): string {
  if (field.default === undefined) return "";
  // What a map or a list of maps defaults to is said by its own section.
  if (field.properties !== undefined) return "";
  return `\`${JSON.stringify(field.default)}\``;
}
