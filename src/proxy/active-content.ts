import { rememberTexts } from './header-names.js';

/** What a page, picture or script of a provider may do when a browser opens it on our origin: nothing, on an origin of its own. */
export const inertPolicy = "sandbox; default-src 'none'";

const essence = /^[ \t]*([\w!#$&^.+-]+\/[\w!#$&^.+-]+)[ \t]*(?:;.*)?$/;
const active = new RegExp(`^(?:${[
  '.*[+/]xml', '.*[+/]xml-.*', 'text/html', 'text/xsl', 'text/x-component', 'multipart/(?:x-mixed-replace|related)', 'message/rfc822', 'application/x-mimearchive',
  '(?:text|application)/(?:x-)?(?:javascript|ecmascript|jscript|livescript|vbscript)[\\d.]*', 'application/(?:wasm|x-shockwave-flash)',
].join('|')})$`);

/**
 * Whether a browser may run what an answer of this `Content-Type` holds: HTML, XML (SVG among it), scripts and the like, and
 * everything that does not say clearly what it is.
 */
export function isActive(contentType: string | undefined): boolean {
  return contentType === undefined || isActiveType(contentType);
}

const isActiveType = rememberTexts((contentType) => {
  const type = essence.exec(contentType)?.[1]?.toLowerCase();
  return type === undefined || active.test(type);
});
