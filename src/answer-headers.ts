import type { FastifyReply } from 'fastify';
import fp from 'fastify-plugin';

/** What every answer of ours tells browsers: no guessing of its type, no frame around it, no address of it to others. */
const always = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
} as const;
const unlessSaid = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  // Whoever asks with a credential gets an answer for that credential.
  'cache-control': 'no-store',
} as const;

/** All of them, for answers that are written without Fastify. */
export const ownAnswerHeaders: Readonly<Record<string, string>> = { ...always, ...unlessSaid };

/**
 * Headers of our own answers, on every route; what a route says itself of caching, referrers or its page's content stays. A
 * provider's answers do not come this way.
 */
export const answerHeaders = fp(async (app) => {
  app.addHook('onSend', (_request, reply, _payload, done) => {
    setAnswerHeaders(reply);
    done();
  });
}, { name: 'answer-headers' });

/** Sets them on one answer; for those that no hook sees. */
export function setAnswerHeaders(reply: FastifyReply): void {
  void reply.headers(always);
  for (const [name, value] of Object.entries(unlessSaid)) {
    if (!reply.hasHeader(name)) void reply.header(name, value);
  }
}
