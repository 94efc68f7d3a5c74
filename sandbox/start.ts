import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { buildSandbox, type SandboxOptions } from './app.js';

/** Where a sandbox listens. */
export interface StartOptions extends SandboxOptions {
  /** 0, the default, takes any free port. */
  port?: number;
  host?: string;
}

/** A sandbox that listens. */
export interface RunningSandbox {
  url: string;
  app: FastifyInstance;
  close(): Promise<void>;
}

/** Builds a sandbox and listens. Rejects with the socket's error (EADDRINUSE …) when the port cannot be had. */
export async function startSandbox({ port = 0, host = '127.0.0.1', ...options }: StartOptions = {}): Promise<RunningSandbox> {
  const app = await buildSandbox(options);
  await app.listen({ port, host });
  const address = app.server.address() as AddressInfo;
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  const url = `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${address.port}`;
  return { url, app, close: () => app.close() };
}
