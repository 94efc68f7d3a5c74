import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import fp from 'fastify-plugin';

/** Ends sockets that never sent a request when the server closes: Node counts them as busy, and the close would wait for them. */
export const quietSockets = fp(async (app) => {
  const quiet = new Set<Socket>();
  app.server.on('connection', (socket: Socket) => {
    quiet.add(socket);
    socket.once('close', () => quiet.delete(socket));
  });
  app.server.on('request', ({ socket }: IncomingMessage) => void quiet.delete(socket));
  app.addHook('preClose', async () => quiet.forEach((socket) => socket.destroy()));
}, { name: 'quiet-sockets' });
