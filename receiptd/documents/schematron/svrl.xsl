<?xml version="1.0" encoding="UTF-8"?>
<!-- From a Schematron report (SVRL, ISO/IEC 19757-3, annex D) to a JSON array of what was found: errors first, for the
     list is cut. What has no id of its own has its rule's or its pattern's. -->
<xsl:stylesheet version="3.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:svrl="http://purl.oclc.org/dsdl/svrl">
  <xsl:output method="json"/>
  <xsl:param name="findings-max" as="xs:integer" required="yes"/>
  <xsl:variable name="mild" select="('warning', 'warn', 'information', 'info', 'hint')"/>

  <xsl:template match="/">
    <xsl:variable name="all" select="svrl:schematron-output//(svrl:failed-assert | svrl:successful-report | svrl:error)"/>
    <xsl:variable name="warnings" select="$all[
        let $says := (@flag, @role) ! lower-case(normalize-space(.)) return $says = $mild and not($says = ('fatal', 'error'))]"/>
    <xsl:variable name="found" as="map(*)*">
      <xsl:for-each select="subsequence(($all except $warnings, $warnings), 1, $findings-max)">
        <xsl:map>
          <xsl:map-entry key="'id'" select="string((@id, preceding-sibling::svrl:fired-rule[1]/@id,
              preceding-sibling::svrl:active-pattern[1]/@id)[normalize-space()][1])"/>
          <xsl:map-entry key="'warning'" select="exists(. intersect $warnings)"/>
          <xsl:map-entry key="'location'" select="string(@location)"/>
          <xsl:map-entry key="'text'" select="normalize-space(string-join(.//(svrl:text | svrl:diagnostic-reference), ' '))"/>
          <xsl:map-entry key="'fault'" select="if (self::svrl:error) then string((@code, 'error')[1]) else ''"/>
        </xsl:map>
      </xsl:for-each>
    </xsl:variable>
    <xsl:sequence select="if (svrl:schematron-output) then array { $found } else ()"/>
  </xsl:template>
</xsl:stylesheet>
