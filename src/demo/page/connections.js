import { confirm, h, icon, mark, moment, toast } from './dom.js';

const STATES = {
  operational: 'Healthy',
  degraded: 'The provider refused to renew the sign-in; it is tried again',
  failed: 'Needs to be connected again',
  unknown: 'Not checked yet',
};

/**
 * The list of one identity's connections. `actions` are `connect()`, `sync()`, `remove(connection)` and `use(connection)`,
 * all asynchronous; a button stays busy until its action is done.
 */
export function connectionList({ node, actions }) {
  const connect = action('button primary', 'plus', 'Connect a tool', actions.connect);
  const content = h('div', {});
  node.replaceChildren(h('div', { class: 'buttons' }, connect, action('button', 'sync', 'Sync with the vault', actions.sync)), content);

  function row({ connection, title, image }) {
    const remove = async () => {
      const sure = await confirm({
        title: `Disconnect ${title}?`,
        text: 'The connection is deleted here and in the vault. Calls with it stop working at once.',
        yes: 'Disconnect',
      });
      if (sure) await actions.remove(connection);
    };
    return h(
      'li',
      { class: 'connection', 'data-id': connection.id },
      mark(title, image),
      h(
        'div',
        { class: 'connection-text' },
        h('div', { class: 'connection-title' }, h('strong', {}, connection.name ?? title), pill(connection.state)),
        h('div', { class: 'meta' }, h('span', {}, connection.platform), h('span', {}, connection.environment), h('time', { datetime: connection.createdAt }, moment(connection.createdAt))),
      ),
      h(
        'div',
        { class: 'connection-actions' },
        h('button', { class: 'button small', type: 'button', 'aria-label': `Use ${title} in a request`, onclick: () => actions.use(connection) }, 'Use'),
        action('button small quiet-danger', undefined, 'Disconnect', remove, `Disconnect ${title}`),
      ),
    );
  }

  return {
    /** Placeholder rows while the list is on its way. */
    showLoading() {
      const bones = [1, 2].map(() => h('div', { class: 'connection bones' }, h('span', { class: 'bone bone-mark' }), h('span', { class: 'bone bone-line' })));
      content.replaceChildren(h('div', { class: 'connections', 'aria-busy': 'true' }, ...bones));
    },

    /** `items` are `{ connection, title, image }`. */
    show(items) {
      const list = h('ul', { class: 'connections' }, ...items.map(row));
      content.replaceChildren(items.length > 0 ? list : nothingYet());
    },

    showFailure(error, retry) {
      const again = h('button', { class: 'button', type: 'button', onclick: retry }, 'Try again');
      content.replaceChildren(h('div', { class: 'empty', role: 'alert' }, icon('alert'), h('strong', {}, 'The list could not be loaded'), h('p', {}, error.message), again));
    },

    focusConnect() {
      connect.focus();
    },
  };
}

function nothingYet() {
  return h('div', { class: 'empty' }, icon('plug'), h('strong', {}, 'Nothing connected yet'), h('p', {}, 'Connect a tool to see it here and to send a request with it.'));
}

function pill(state) {
  const known = Object.hasOwn(STATES, state) ? state : 'unknown';
  return h('span', { class: `pill pill-${known}`, title: STATES[known] }, known);
}

function action(className, iconName, label, run, ariaLabel) {
  const button = h('button', { class: className, type: 'button', 'aria-label': ariaLabel }, iconName && icon(iconName), label);
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      await run();
    } catch (error) {
      toast(error.message, 'bad');
    } finally {
      button.disabled = false;
    }
  });
  return button;
}
