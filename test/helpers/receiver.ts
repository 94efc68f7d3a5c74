import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

/** A request that a receiver got; `event` is its body, parsed. */
export type Received = { path: string; headers: IncomingHttpHeaders; body: string; event: any };

export type Receiver = { url: string; port: number; received: Received[]; answer: (request: Received, response: ServerResponse) => void };

/** An application that is told of things: keeps what it gets and answers 204, or as `receiver.answer` says. */
export async function startReceiver(t: Test, answer: Receiver['answer'] = (_, response) => void response.writeHead(204).end()): Promise<Receiver> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      const got = { path: request.url ?? '', headers: request.headers, body, event: body ? JSON.parse(body) : undefined };
      receiver.received.push(got);
      receiver.answer(got, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const receiver: Receiver = { url: `http://127.0.0.1:${port}`, port, received: [], answer };
  return receiver;
}

/** Waits until `condition` holds; fails after `milliseconds`. */
export async function until(condition: () => boolean | Promise<boolean>, milliseconds = 15_000): Promise<void> {
  const end = Date.now() + milliseconds;
  while (!await condition()) {
    if (Date.now() > end) throw new Error(`not within ${milliseconds} ms: ${String(condition)}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
