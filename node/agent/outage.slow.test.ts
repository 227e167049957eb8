import { createServer, type Server } from "node:net";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { measureOutage } from "./outage.ts";

function listen(port: number): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

test("a service that goes and comes back: the time between is measured", async () => {
  let server = await listen(0);
  const { port } = server.address() as AddressInfo;
  const measuring = measureOutage({ protocol: "tcp", address: "127.0.0.1", port }, 1_500, 20);
  await new Promise((resolve) => setTimeout(resolve, 300));
  await close(server);
  await new Promise((resolve) => setTimeout(resolve, 500));
  server = await listen(port);
  const { longestMs, failures, answersAtEnd } = await measuring;
  await close(server);
  expect(failures).toBeGreaterThan(0);
  expect(longestMs).toBeGreaterThanOrEqual(450);
  expect(answersAtEnd).toBe(true);
});

test("a service that stays away is an outage to the end", async () => {
  const server = await listen(0);
  const { port } = server.address() as AddressInfo;
  const measuring = measureOutage({ protocol: "tcp", address: "127.0.0.1", port }, 1_200, 20);
  await new Promise((resolve) => setTimeout(resolve, 200));
  await close(server);
  expect(await measuring).toMatchObject({ answersAtEnd: false });
  expect(await measureOutage({ protocol: "tcp", address: "127.0.0.1", port }, 100, 20)).toMatchObject({
    answersAtEnd: false,
    attempts: expect.any(Number),
  });
});
