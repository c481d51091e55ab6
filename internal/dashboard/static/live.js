// The stream of what is recorded while the page is open.

const stateElement = () => document.getElementById("state");

// showState says how fresh the page is: live, reconnecting, ended, or what went wrong.
export function showState(state, text = state) {
  const el = stateElement();
  el.dataset.state = state;
  if (el.textContent !== text) el.textContent = text;
}

// listen opens a stream and keeps it open. handlers maps the kinds of events to functions of their data; live is called
// whenever the stream stands. A page that nobody sees lets go of the stream and takes it up where it was: a browser has
// six connections for all of its tabs.
export function listen(query, handlers, live = () => showState("live")) {
  let source = null, position = "", timer = 0, closed = false;

  const drop = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };
  const open = () => {
    drop();
    const parameters = new URLSearchParams(query);
    if (position) parameters.set("after", position);
    source = new EventSource(`/api/stream?${parameters}`);
    source.onopen = live;
    source.onerror = () => {
      showState("reconnecting");
      // After an answer that is no stream the browser gives up; the server may be on its way up.
      if (source && source.readyState === EventSource.CLOSED) timer = setTimeout(open, 1000);
    };
    for (const [kind, handle] of Object.entries(handlers)) {
      source.addEventListener(kind, (e) => {
        position = e.lastEventId || position;
        handle(JSON.parse(e.data));
      });
    }
    source.addEventListener("problem", (e) => showState("problem", JSON.parse(e.data).error));
  };
  const seen = () => {
    if (closed) return;
    if (document.hidden) drop();
    else if (!source) open();
  };
  document.addEventListener("visibilitychange", seen);
  seen();
  return {
    close() {
      closed = true;
      document.removeEventListener("visibilitychange", seen);
      drop();
    },
  };
}
