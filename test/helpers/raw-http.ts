import { connect, type Socket } from 'node:net';

/** Sends bytes to a server and returns everything it answers until it closes. */
export async function exchange(url: string, bytes: string | Buffer): Promise<string> {
  const socket = open(url);
  socket.write(bytes, 'latin1');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('latin1');
}

/** A plain socket to a server. */
export function open(url: string): Socket {
  const { hostname, port } = new URL(url);
  return connect(Number(port), hostname);
}
