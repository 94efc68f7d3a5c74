import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply } from 'fastify';
import Type from 'typebox';
import { type Identity, IdentitySchema, IdentityTypeSchema } from '../auth/identity.js';
import { Problem } from '../errors.js';
import { loadAssets, type Asset } from './assets.js';

/** What the page needs of the gateway: a way to log somebody in, and where the widget lives (unset = the hosted one). */
export type DemoOptions = {
  widgetBaseUrl?: string | undefined;
  login(owner: Identity): Promise<{ key: string; widgetHeaders: Record<string, string>; expiresAt: string }>;
};

const HOSTED_WIDGET = 'https://authkit.picaos.com';

const open = { config: { access: 'public' } } as const;

const LoginBody = Type.Object({ identity: IdentitySchema, identityType: Type.Optional(IdentityTypeSchema) }, { additionalProperties: false });

/**
 * The page at /demo, its files, a redirect to it from /, and `POST /demo/login`, which hands a short-lived key to whoever asks: development only.
 * Register it only when `DEMO` is true.
 */
export const demoRoutes: FastifyPluginAsyncTypebox<DemoOptions> = async (app, { widgetBaseUrl, login }) => {
  const assets = loadAssets();
  const policy = contentSecurityPolicy(new URL(widgetBaseUrl ?? HOSTED_WIDGET).origin);

  const send = (reply: FastifyReply, asset: Asset) =>
    reply
      .headers({
        'content-security-policy': policy,
        'referrer-policy': 'strict-origin-when-cross-origin',
        'cache-control': 'no-cache',
      })
      .type(asset.type)
      .send(asset.content);

  app.addHook('onRequest', async ({ headers }) => refuseForeignPage(headers));

  app.get('/', { ...open, schema: { hide: true } }, (_request, reply) => reply.redirect('/demo'));

  app.get('/demo', { ...open, schema: { hide: true } }, (_request, reply) => send(reply, assets.get('index.html')!));

  app.get('/demo/assets/:file', { ...open, schema: { hide: true, params: Type.Object({ file: Type.String() }) } }, (request, reply) => {
    const asset = assets.get(request.params.file);
    if (!asset) throw new Problem('not_found', 'The demo page has no such file.');
    return send(reply, asset);
  });

  app.post('/demo/login', { ...open, schema: { hide: true, body: LoginBody } }, async (request, reply) => {
    const { identity, identityType = 'user' } = request.body;
    const credentials = await login({ identity, identityType });
    reply.header('cache-control', 'no-store');
    return { ...credentials, identity, identityType, widgetBaseUrl };
  });
};

/**
 * 421 `host_not_allowed` unless the request came to this machine's own name or to an address. A page of another name that is
 * made to resolve here (DNS rebinding) is of the same origin to its browser, and would read the key that the login hands out.
 */
function refuseForeignPage({ host, origin }: IncomingHttpHeaders): void {
  const name = hostname(host === undefined ? undefined : `http://${host}`);
  if (name === undefined || !(name === 'localhost' || name.endsWith('.localhost') || isAddress(name))) {
    throw new Problem('host_not_allowed', 'The demo page answers localhost and plain addresses only, so that no other site can ask it for a key.', {
      errors: [{ field: 'header.host', message: 'must be localhost or an IP address' }],
    });
  }
  if (origin !== undefined && hostname(origin) !== name) {
    throw new Problem('origin_not_allowed', 'The demo page answers its own page only.', { errors: [{ field: 'header.origin', message: 'is another site' }] });
  }
}

/** As the URL parser writes addresses: dotted decimal, or in brackets. */
function isAddress(hostname: string): boolean {
  return /^(?:\d+(?:\.\d+){3}|\[.+\])$/.test(hostname);
}

function hostname(url: string | undefined): string | undefined {
  return url !== undefined && URL.canParse(url) ? new URL(url).hostname : undefined;
}

/** Own files only; the frame is the widget's; images come from wherever the catalogue says. */
function contentSecurityPolicy(widgetOrigin: string): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data: http: https:",
    `frame-src ${widgetOrigin}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}
