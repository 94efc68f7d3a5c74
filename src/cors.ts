import cors from '@fastify/cors';
import fp from 'fastify-plugin';

// Those a page may call: the widget asks for tokens from its vendor's origin, the application's own page stores connections.
const browserRoutes = /^\/(?:authkit|connections)(?:[/?]|$)/;

/**
 * CORS for the browser routes (upstream.md, "The widget": the token request is cross-site and carries any custom header).
 * Other routes answer no origin. Chrome's question whether a public page may reach a private address
 * (`Access-Control-Request-Private-Network`) is answered for allowed origins.
 */
export const corsPlugin = fp<{ origins: '*' | readonly string[] }>(async (app, { origins }) => {
  app.addHook('onRoute', (route) => {
    if (route.url !== preflights && !browserRoutes.test(route.url)) route.config = { ...route.config, ...{ cors: false } };
  });
  app.addHook('onRequest', (request, reply, done) => {
    const { headers: { origin, 'access-control-request-private-network': asksForPrivate }, method, url } = request;
    if (method === 'OPTIONS' && !browserRoutes.test(url) && request.route === preflights) return void reply.callNotFound();
    const allowed = origin !== undefined && (origins === '*' || origins.includes(origin));
    if (allowed && asksForPrivate === 'true' && browserRoutes.test(url)) reply.header('access-control-allow-private-network', 'true');
    done();
  });
  await app.register(cors, {
    origin: origins === '*' ? '*' : [...origins], methods: ['GET', 'POST', 'PATCH', 'DELETE', 'OPTIONS'], maxAge: 600, strictPreflight: false,
    exposedHeaders: ['x-authkit-error', 'x-request-id', 'retry-after', 'location'],
  });
}, { name: 'cors', dependencies: ['request-log'] });

/** The route that @fastify/cors adds for preflights of any path. */
const preflights = '*';
