"use strict";

// Draws the charts of a page from their JSON data. Without this script, the tables have the same numbers.
(function () {
    const UNITS = ["bytes", "KB", "MB", "GB", "TB", "PB"];
    const DASHES = [[], [6, 3], [2, 3]];
    const charts = [];

    // Matches Django's filesizeformat: 1,024 bytes are 1.0 KB.
    function formatBytes(number) {
        let power = 0;
        let left = number;
        while (left >= 1024 && power < UNITS.length - 1) {
            left /= 1024;
            power += 1;
        }
        return `${power ? left.toFixed(left < 10 ? 1 : 0) : Math.round(left)} ${UNITS[power]}`;
    }

    function format(number, unit) {
        return unit === "bytes" ? formatBytes(number) : Math.round(number).toLocaleString("en-US");
    }

    // Returns the step between grid lines: a round number, for at most five lines.
    function stepOf(series, unit) {
        const most = Math.max(1, ...series.filter((one) => one.unit === unit).flatMap((one) => one.values));
        let step = 1;
        while (step * 5 < most) {
            step *= unit !== "bytes" && String(step)[0] === "2" ? 2.5 : 2;
        }
        return step;
    }

    function sideOf(series, unit, position) {
        return {
            position: position,
            beginAtZero: true,
            border: { display: false },
            grid: { drawOnChartArea: position === "left", drawTicks: false },
            title: { display: true, text: unit === "bytes" ? "Size" : "Sessions" },
            ticks: { stepSize: stepOf(series, unit), padding: 6, callback: (value) => format(value, unit) },
        };
    }

    function timeAxis(data) {
        return {
            type: "linear",
            min: data.at[0],
            max: data.at[data.at.length - 1],
            grid: { display: false },
            afterBuildTicks: (axis) => {
                axis.ticks = data.ticks.map((tick) => ({ value: tick.value }));
            },
            ticks: { maxRotation: 0, autoSkipPadding: 12, callback: (value, index) => data.ticks[index].label },
        };
    }

    function runAxis() {
        return { grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 12 } };
    }

    function optionsOf(data) {
        const units = [...new Set(data.series.map((one) => one.unit))];
        const scales = { x: data.kind === "line" ? timeAxis(data) : runAxis() };
        units.forEach((unit, number) => {
            scales[unit] = sideOf(data.series, unit, number ? "right" : "left");
        });
        return {
            animation: false,
            maintainAspectRatio: false,
            interaction: { mode: "index", intersect: false },
            scales: scales,
            plugins: {
                legend: { display: data.series.length > 1, position: "bottom", labels: { boxHeight: 1, boxWidth: 28 } },
                tooltip: {
                    callbacks: {
                        title: (items) => data.labels[items[0].dataIndex],
                        label: (item) => `${item.dataset.label}: ${format(item.parsed.y, item.dataset.yAxisID)}`,
                    },
                },
            },
        };
    }

    function seriesOf(data) {
        return data.series.map((one, number) => ({
            label: one.label,
            yAxisID: one.unit,
            data: data.kind === "line" ? one.values.map((value, i) => ({ x: data.at[i], y: value })) : one.values,
            borderDash: DASHES[number],
            borderWidth: data.kind === "line" ? 2 : 0,
            pointRadius: 0,
            pointHitRadius: 8,
            maxBarThickness: 28,
        }));
    }

    // Uses the colors of the page's current theme, light or dark.
    function paint(chart) {
        const color = (name) => {
            // Only a property resolves light-dark(); the value of the variable is unresolved text.
            chart.canvas.style.color = `var(${name})`;
            return getComputedStyle(chart.canvas).color;
        };
        chart.data.datasets.forEach((set, number) => {
            set.borderColor = color(`--raptor-series-${number + 1}`);
            set.backgroundColor = set.borderColor;
        });
        Object.values(chart.options.scales).forEach((scale) => {
            scale.ticks.color = color("--body-quiet-color");
            scale.grid.color = color("--hairline-color");
            if (scale.title) {
                scale.title.color = color("--body-quiet-color");
            }
        });
        chart.options.plugins.legend.labels.color = color("--body-fg");
        chart.update();
    }

    function draw(canvas) {
        const data = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
        canvas.parentElement.hidden = false;
        const chart = new window.Chart(canvas, {
            type: data.kind,
            data: { labels: data.at, datasets: seriesOf(data) },
            options: optionsOf(data),
        });
        charts.push(chart);
        paint(chart);
    }

    function followTheme() {
        const repaint = () => charts.forEach(paint);
        new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
        window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    }

    // Opens the tables and fits the charts to the paper for printing.
    function followPrinting() {
        const opened = [];
        window.addEventListener("beforeprint", () => {
            document.querySelectorAll(".raptor-chart details:not([open])").forEach((table) => {
                table.open = true;
                opened.push(table);
            });
            charts.forEach((chart) => chart.resize());
        });
        window.addEventListener("afterprint", () => {
            opened.splice(0).forEach((table) => {
                table.open = false;
            });
            charts.forEach((chart) => chart.resize());
        });
        document.querySelectorAll("[data-print]").forEach((button) => {
            button.hidden = false;
            button.addEventListener("click", () => window.print());
        });
    }

    if (window.Chart) {
        document.querySelectorAll("canvas[data-chart]").forEach(draw);
        followTheme();
    }
    followPrinting();
})();
