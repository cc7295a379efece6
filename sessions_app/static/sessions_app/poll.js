"use strict";

// Polls the state every second, or at the page's interval, and reloads the page when the state changes.
// Without this script, a link on the page reloads it.
(function () {
    // Screen readers announce a status that changes, not one that is there when the page loads.
    const ANNOUNCE_AFTER_MILLISECONDS = 500;
    // The worker stops a long run at its deadline and resumes it at once.
    const PAUSES_ALLOWED = 5;

    const box = document.getElementById("poll");
    const intervalMilliseconds = 1000 * Number(box.dataset.seconds || 1);
    const status = document.getElementById("poll-status");
    const link = document.getElementById("poll-link");
    const bar = document.getElementById("poll-bar");
    const text = document.getElementById("poll-text");
    let quarter = 0;
    let pauses = 0;

    // A selector of the focused element, if it has one that survives a reload.
    function focusSelector() {
        const element = document.activeElement;
        if (element && element.id) {
            return `#${CSS.escape(element.id)}`;
        }
        const address = element && element.getAttribute("href");
        return address ? `a[href="${CSS.escape(address)}"]` : null;
    }

    // A reload keeps the scroll position and the history state, but not the focus.
    function reload() {
        window.history.replaceState({ focus: focusSelector() }, "");
        window.location.reload();
    }

    function restoreFocus() {
        const selector = window.history.state && window.history.state.focus;
        const element = selector && document.querySelector(selector);
        if (element) {
            element.focus({ preventScroll: true });
        }
        window.history.replaceState(null, "");
    }

    function announce(message) {
        window.setTimeout(() => {
            status.textContent = message;
        }, ANNOUNCE_AFTER_MILLISECONDS);
    }

    function show(state) {
        if (!bar) {
            return;
        }
        text.textContent = state.text;
        if (state.phase !== "working") {
            return;
        }
        bar.max = state.total || 1;
        bar.value = state.done;
        // Announce each quarter; an announcement every second would be noise.
        const reached = Math.floor((4 * state.done) / (state.total || 1));
        if (reached > quarter) {
            quarter = reached;
            status.textContent = state.text;
        }
    }

    // Do not reload a page that refreshes periodically while a reload would interrupt the user.
    function isBusy() {
        const element = document.activeElement;
        const isWriting = element && element.matches("input, textarea, select");
        return Boolean(box.dataset.seconds) && (isWriting || document.querySelector("details[open]") !== null);
    }

    function hasChanged(state) {
        if (state.phase === box.dataset.phase) {
            pauses = 0;
            return false;
        }
        if (isBusy()) {
            return false;
        }
        pauses += 1;
        return !state.is_paused || pauses > PAUSES_ALLOWED;
    }

    async function poll() {
        let state = null;
        try {
            if (document.hidden && box.dataset.seconds) {
                window.setTimeout(poll, intervalMilliseconds);
                return;
            }
            const response = await fetch(box.dataset.address, { headers: { Accept: "application/json" } });
            if (response.redirected) {
                // The user was logged out: reload to show the login page.
                reload();
                return;
            }
            if (response.status === 400) {
                // The wait has expired.
                return;
            }
            state = response.ok ? await response.json() : null;
        } catch (error) {
            // The panel may be restarting: try again in a second.
        }
        if (state !== null) {
            show(state);
            if (hasChanged(state)) {
                reload();
                return;
            }
        }
        window.setTimeout(poll, intervalMilliseconds);
    }

    restoreFocus();
    if (status.textContent) {
        announce(status.dataset.message || status.textContent);
    }
    if (box.dataset.phase !== "done") {
        if (link) {
            link.hidden = box.dataset.phase === "waiting";
        }
        window.setTimeout(poll, intervalMilliseconds);
    }
})();
