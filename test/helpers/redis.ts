import { connect } from 'node:net';

/** Redis to test on: TEST_REDIS_URL (empty: none), or the one on this machine when it answers. */
export const redisUrl = process.env['TEST_REDIS_URL'] ?? (await answers('127.0.0.1', 6379) ? 'redis://127.0.0.1:6379' : undefined);

/** The reason to skip a test, or false. */
export const withoutRedis = redisUrl ? false : 'needs Redis: start one on port 6379, or set TEST_REDIS_URL';

function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1_000 });
    const say = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.on('connect', () => void socket.write('PING\r\n'));
    socket.on('data', (data) => say(data.toString().startsWith('+PONG')));
    socket.on('error', () => say(false)).on('timeout', () => say(false));
  });
}
