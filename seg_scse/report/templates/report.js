"use strict";
// Makes each .images table of the page sortable and filterable. Without this script its first rows can still be read.
(function () {
  var PAGE = 100;
  var order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  function make(tag, text) {
    var element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function grouped(number) {
    return String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  }

  function shown(value, digits) {
    return value === null ? "n/a" : value.toFixed(digits);
  }

  // Null, a score that is not available, comes last in either direction.
  function comparison(values, isText, sign) {
    return function (a, b) {
      var x = values[a], y = values[b];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return sign * (isText ? order.compare(x, y) : x - y) || a - b;
    };
  }

  function setUp(tool) {
    var data = JSON.parse(tool.querySelector("script").textContent);
    var texts = data.texts.length;
    var total = data.texts[0].values.length;
    var state = { view: 0, sort: data.sort, sign: data.sign, shown: PAGE };
    var part = function (name) { return tool.querySelector("." + name); };
    var heads = Array.prototype.slice.call(tool.querySelectorAll("thead th"));
    var body = tool.querySelector("tbody");
    var searched = data.texts.map(function (column) {
      return column.values.map(function (value) { return value.toLowerCase(); });
    });

    function values(column) {
      return column < texts ? data.texts[column].values : data.views[state.view].values[column - texts];
    }

    function bound(name) {
      var text = part(name).value.trim();
      return text === "" || isNaN(Number(text)) ? null : Number(text);
    }

    function chosen() {
      var query = part("search").value.trim().toLowerCase();
      var low = bound("low"), high = bound("high");
      var limited = data.columns.length ? values(texts + Number(part("column").value)) : [];
      var found = [];
      for (var row = 0; row < total; row++) {
        if (query && !searched.some(function (column) { return column[row].indexOf(query) >= 0; })) continue;
        if ((low !== null || high !== null) && limited[row] === null) continue;
        if ((low !== null && limited[row] < low) || (high !== null && limited[row] > high)) continue;
        found.push(row);
      }
      return found.sort(comparison(values(state.sort), state.sort < texts, state.sign));
    }

    function line(row) {
      var tr = make("tr");
      for (var column = 0; column < heads.length; column++) {
        var isText = column < texts, value = values(column)[row];
        var cell = make(column ? "td" : "th", isText ? value : shown(value, data.columns[column - texts].digits));
        if (!column) cell.scope = "row";
        if (isText) cell.className = "text";
        tr.appendChild(cell);
      }
      return tr;
    }

    function draw() {
      var rows = chosen(), first = rows.slice(0, state.shown);
      var lines = document.createDocumentFragment();
      first.forEach(function (row) { lines.appendChild(line(row)); });
      body.textContent = "";
      body.appendChild(lines);
      heads.forEach(function (head, column) {
        head.setAttribute("aria-sort", column !== state.sort ? "none" : state.sign > 0 ? "ascending" : "descending");
      });
      var limit = rows.length < total ? " found, of " + grouped(total) : "";
      part("status").textContent = first.length < rows.length
        ? "First " + grouped(first.length) + " of " + grouped(rows.length) + (limit || " images")
        : grouped(rows.length) + (limit || " images");
      part("more").hidden = first.length === rows.length;
      part("more").textContent = "Show " + Math.min(PAGE, rows.length - first.length) + " more";
    }

    function again() {
      state.shown = PAGE;
      draw();
    }

    heads.forEach(function (head, column) {
      var button = make("button", head.textContent);
      button.type = "button";
      button.addEventListener("click", function () {
        state.sign = state.sort === column ? -state.sign : 1;
        state.sort = column;
        again();
      });
      head.textContent = "";
      head.appendChild(button);
    });
    ["search", "low", "high"].forEach(function (name) { part(name).addEventListener("input", again); });
    part("column").addEventListener("change", again);
    part("view").addEventListener("change", function () {
      state.view = Number(part("view").value);
      again();
    });
    part("reset").addEventListener("click", function () {
      ["search", "low", "high"].forEach(function (name) { part(name).value = ""; });
      again();
    });
    part("more").addEventListener("click", function () {
      state.shown += PAGE;
      draw();
    });
    part("controls").hidden = false;
    draw();
  }

  Array.prototype.forEach.call(document.querySelectorAll(".images"), setUp);
  document.addEventListener("keydown", function (event) {
    if (event.key !== "Escape") return;
    document.querySelectorAll(".pick-zoom:checked").forEach(function (box) { box.checked = false; });
  });
})();
