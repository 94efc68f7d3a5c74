const SVG = 'http://www.w3.org/2000/svg';

const ICONS = {
  alert: ['M12 8v5', 'M12 16.5v.01', 'M12 3 2.5 20h19z'],
  back: ['M15 5l-7 7 7 7'],
  check: ['M5 12.5l4.5 4.5L19 7.5'],
  chevron: ['M9 6l6 6-6 6'],
  close: ['M6 6l12 12', 'M18 6L6 18'],
  eye: ['M2 12s3.6-7 10-7 10 7 10 7-3.6 7-10 7-10-7-10-7z', 'M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z'],
  lock: ['M5 11h14v10H5z', 'M8 11V7a4 4 0 0 1 8 0v4'],
  search: ['M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14z', 'M16 16l5 5'],
};

/**
 * Builds an element. `class` and attributes are set as given (`true` = empty, `false`/`undefined` = left out), functions
 * named `on…` become listeners. Strings among the children become text nodes: data can never turn into markup.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== false));
  return element;
}

/** One of the line icons above; decoration, so hidden from assistive technology. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}

/** The absolute form of an http(s) URL, or undefined: images come from a token and are not trusted. */
export function httpUrl(value) {
  if (typeof value !== 'string' || value === '') return undefined;
  const url = URL.canParse(value, document.baseURI) ? new URL(value, document.baseURI) : undefined;
  return url && /^https?:$/.test(url.protocol) ? url.href : undefined;
}

/** A square tile with an image, or the name's first letter when there is none or it does not load. */
export function mark(name, image, size = 'medium') {
  const letter = h('span', { class: 'mark-letter' }, (name.trim()[0] ?? '?').toUpperCase());
  const tile = h('span', { class: `mark mark-${size}`, 'aria-hidden': 'true' });
  const src = httpUrl(image);
  if (!src) {
    tile.append(letter);
    return tile;
  }
  tile.append(h('img', { src, alt: '', loading: 'lazy', decoding: 'async', referrerpolicy: 'no-referrer', onerror: () => tile.replaceChildren(letter) }));
  return tile;
}
