"use strict";

// The menu button on narrow screens, and the keyboard shortcuts. Without this script, the menu is always open.
(function () {
    const SEQUENCE_MILLISECONDS = 1500;
    const DISABLED = "raptor.keysDisabled";
    const TYPING = "input:not([type=checkbox], [type=radio], [type=submit], [type=button]), textarea, select, [contenteditable]";

    const menuButton = document.getElementById("menu-button");
    const menu = document.getElementById("nav-sidebar");
    const dialog = document.getElementById("keys");
    const enabled = document.getElementById("keys-enabled");
    let startedAt = -Infinity;

    function showMenu(isOpen) {
        menuButton.setAttribute("aria-expanded", String(isOpen));
        menu.classList.toggle("raptor-open", isOpen);
    }

    function isMenuOpen() {
        return menuButton.getAttribute("aria-expanded") === "true";
    }

    function connectMenu() {
        menuButton.addEventListener("click", () => showMenu(!isMenuOpen()));
        document.addEventListener("keydown", (event) => {
            if (event.key === "Escape" && isMenuOpen()) {
                showMenu(false);
                menuButton.focus();
            }
        });
        document.addEventListener("click", (event) => {
            if (isMenuOpen() && !menu.contains(event.target) && !menuButton.contains(event.target)) {
                showMenu(false);
            }
        });
    }

    // Some private windows refuse storage; then use the default.
    function isDisabled() {
        try {
            return window.localStorage.getItem(DISABLED) === "1";
        } catch (error) {
            return false;
        }
    }

    function setDisabled(isOff) {
        try {
            window.localStorage.setItem(DISABLED, isOff ? "1" : "0");
        } catch (error) {
            // The choice then applies only to this page.
        }
    }

    function openHelp() {
        if (!dialog.open) {
            dialog.showModal();
        }
    }

    function search() {
        const field = document.getElementById("searchbar");
        if (field) {
            field.focus();
            field.select();
        }
        return Boolean(field);
    }

    // Returns whether the key had an effect.
    function press(key) {
        const isSecond = performance.now() - startedAt < SEQUENCE_MILLISECONDS;
        startedAt = -Infinity;
        if (isSecond) {
            const link = menu.querySelector(`a[data-key="${CSS.escape(key)}"]`);
            if (link) {
                window.location.assign(link.href);
            }
            return Boolean(link);
        }
        if (key === "g") {
            startedAt = performance.now();
            return true;
        }
        if (key === "?") {
            openHelp();
            return true;
        }
        return key === "/" && search();
    }

    function connectKeys() {
        enabled.checked = !isDisabled();
        enabled.addEventListener("change", () => setDisabled(!enabled.checked));
        document.getElementById("keys-button").addEventListener("click", openHelp);
        document.addEventListener("keydown", (event) => {
            const isBusy = event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented;
            if (isBusy || dialog.open || !enabled.checked || event.target.closest(TYPING)) {
                startedAt = -Infinity;
                return;
            }
            if (event.key !== "Shift" && press(event.key)) {
                event.preventDefault();
            }
        });
    }

    if (menu && menuButton) {
        connectMenu();
    }
    if (menu && dialog) {
        connectKeys();
    }
})();
