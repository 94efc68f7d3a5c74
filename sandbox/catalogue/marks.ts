import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { Platform } from './platforms.js';

const require = createRequire(import.meta.url);

/** A platform's mark as SVG: its simple-icons glyph on a tile in the brand's colour, or a letter mark. */
export async function drawMark(platform: Platform): Promise<string> {
  const ink = isLight(platform.colour) ? '#16181D' : '#FFFFFF';
  const path = platform.icon === undefined ? undefined : await brandPath(platform.icon);
  const glyph = path === undefined ? letterGlyph(platform.name, ink) : `<path transform="translate(12 12)" fill="${ink}" d="${path}"/>`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 48" role="img" aria-label="${platform.name}">` +
    '<defs><linearGradient id="g" x1="0" y1="0" x2="0" y2="1">' +
    '<stop stop-color="#fff" stop-opacity=".14"/><stop offset="1" stop-color="#000" stop-opacity=".10"/></linearGradient></defs>' +
    `<rect width="48" height="48" rx="11" fill="${platform.colour}"/><rect width="48" height="48" rx="11" fill="url(#g)"/>` +
    `<rect x=".5" y=".5" width="47" height="47" rx="10.5" fill="none" stroke="#fff" stroke-opacity=".12"/>${glyph}</svg>`
  );
}

/** The `d` of an icon; undefined where simple-icons, a development dependency, is not installed. */
async function brandPath(slug: string): Promise<string | undefined> {
  try {
    const svg = await readFile(require.resolve(`simple-icons/icons/${slug}.svg`), 'utf8');
    return / d="([^"]+)"/.exec(svg)?.[1];
  } catch {
    return undefined;
  }
}

function letterGlyph(name: string, ink: string): string {
  const words = name.split(/\s+/);
  const letters = words.length > 1 ? words.slice(0, 2).map((word) => word.charAt(0)) : [name.charAt(0)];
  const size = letters.length > 1 ? 19 : 25;
  return (
    `<path d="M0 37c9-7 17-9 25-6s15 3 23-3v9a11 11 0 0 1-11 11H11A11 11 0 0 1 0 37z" fill="${ink}" fill-opacity=".13"/>` +
    `<text x="24" y="${24 + size * 0.36}" text-anchor="middle" fill="${ink}" font-size="${size}" font-weight="700" letter-spacing="-.5" ` +
    `font-family="Inter,ui-sans-serif,system-ui,'Segoe UI','Helvetica Neue',Arial,sans-serif">${letters.join('').toUpperCase()}</text>`
  );
}

/** Whether dark ink reads better on the colour (relative luminance, WCAG 2). */
function isLight(colour: string): boolean {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const channel = parseInt(colour.slice(at, at + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45;
}
